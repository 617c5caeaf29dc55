/* chat: the language of templates, bounds, random damage */
#include "core/json.h"
#include "data/chat.h"
#include "data/tokenizer.h"
#include "tests/helpers.h"

static arena work;

static cJSON *parse(const char *json)
{
    cJSON *root;

    MUST(json_parse(json, strlen(json), "test", &root));
    return root;
}

static const char conversation[] =
    "[{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \" Hi "
    "\"},"
    " {\"role\": \"assistant\", \"content\": \"Hello\", \"n\": 3, \"t\": [1, null, true, 1.5]},"
    " {\"role\": \"user\", \"content\": \"Bye\"}]";

static const chat_extras extras = {"<s>", "</s>", NULL};

static status render(const char *text, const cJSON *messages, bool prompt, char **out)
{
    size_t n;

    return chat_render(&work, text, strlen(text), messages, prompt, &extras, out, &n);
}

/* ---- the language: what Jinja2 with trim_blocks and lstrip_blocks gives ---- */

static const struct {
    const char *text, *want;
} language[] = {
    {"a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"},
    {"a  {{- 1 -}}  b {#- x -#} c", "a1bc"},
    {"  {%+ if true %} keep {% endif +%}\nx", "   keep \nx"},
    {"a\n {# note #}\nb", "a\nb"},
    {"{% for m in messages %}{{ loop.index }}{{ m.role[0] }}{{ ',' if not loop.last }}{% endfor %}",
     "1s,2u,3a,4u"},
    {"{% for m in messages if m.role == 'user' %}{{ loop.index0 }}/{{ loop.length }}{% endfor %}",
     "0/21/2"},
    {"{% for x in [] %}a{% else %}none{% endfor %}", "none"},
    {"{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k ~ v }}{% endfor %}", "a1b2"},
    {"{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}"
     "{% endif %}{{ x }}{% endfor %}",
     "0134"},
    {"{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
     "{{ ns.n }}",
     "4"},
    {"{% set x = 1 %}{% for i in [5] %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "51"},
    {"{% macro f(a, b='d') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f('x', b=2) }}",
     "[1d][x2]"},
    {"{% set s %}hi {{ 1 }}{% endset %}{{ s | upper }}", "HI 1"},
    {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 'ab' * 2 }} {{ 1 ~ none "
     "}}",
     "3 -4 2 3.5 1024 abab 1None"},
    {"{{ 1 < 2 < 3 }} {{ 'a' in 'cat' }} {{ 3 not in [1] }} {{ not 1 == 2 }} {{ 0 or 'x' }}",
     "True True True True x"},
    {"{{ [1, 2, 3][::-1] }} {{ 'h\xC3\xA4llo'[1:3] }} {{ messages[1:] | length }} {{ [1][5:] }}",
     "[3, 2, 1] \xC3\xA4l 3 []"},
    {"{{ ' a b '.strip() }}|{{ ' x' | trim }}|{{ 'a,b'.split(',') }}|{{ 'a b'.split()[1] }}",
     "a b|x|['a', 'b']|b"},
    {"{{ 'abc'.startswith('a') }} {{ 'abc'.endswith('x') }} {{ 'aXb'.replace('X', '-') }}",
     "True False a-b"},
    {"{{ 'hello world' | title }} {{ ['a', 1] | join('+') }} {{ [3, 1] | first }} {{ 'abc' | last "
     "}}",
     "Hello World a+1 3 c"},
    {"{{ nope | default('d') }} {{ '' | default('e', true) }} {{ nope is defined }} {{ nope }}",
     "d e False "},
    {"{{ messages[2] | tojson }}",
     "{\"role\": \"assistant\", \"content\": \"Hello\", \"n\": 3, \"t\": [1, null, true, 1.5]}"},
    {"{{ {'a': [1], 'b': {}} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"},
    {"{{ {'a': [1, 2]} | tojson(separators=(',', ':'), ensure_ascii=false) }}", "{\"a\":[1,2]}"},
    {"{{ 'a.b c-d' | title }} {{ 'a.b c-d'.title() }}{{ '\\101\\0' | length }}",
     "A.b C-D A.B C-D2"},
    {"{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}",
     "[' Hi ', 'Bye']"},
    {"{{ messages[0].get('x', 'y') }} {{ messages[0].role is string }} {{ 3 is divisibleby 3 }}",
     "y True True"},
    {"{{ 'esc\\n\\u00e9' }}{{ \"}}\" }}{{ 'a' 'b' }}", "esc\n\xC3\xA9}}ab"},
    {"{% generation %}x{% endgeneration %}{{ bos_token }}{{ eos_token }}", "x<s></s>"},
};

START_TEST(language_is_jinja2)
{
    MUST(arena_open(&work, "work", (size_t)1 << 28));
    cJSON *messages = parse(conversation);
    for (size_t i = 0; i < COUNT_OF(language); i++) {
        char *got;
        MUST(render(language[i].text, messages, false, &got));
        ck_assert_msg(strcmp(got, language[i].want) == 0, "%s gives %s, must give %s",
                      language[i].text, got, language[i].want);
    }
    cJSON_Delete(messages);
    arena_close(&work);
}
END_TEST

static const struct {
    const char *text, *message;
} refused[] = {
    {"a\n{{ 1 + }}", "chat template:2:8: must be a value"},
    {"{% if true %}", "chat template:1:14: the template ends, {% endif %} must follow"},
    {"{% frob %}", "chat template:1:4: \"frob\" is there"},
    {"{{ 'x }}", "chat template:1:4: a string does not end"},
    {"{{ x | nofilter }}", "chat template:1:8: there is no filter \"nofilter\""},
    {"{{ x is notest }}", "there is no test \"notest\""},
    {"\n\n {{ nope.x }}", "chat template:3:5: \"nope\" is undefined"},
    {"{{ 1 + nope }}", "\"nope\" is undefined"},
    {"{{ 'a' + 1 }}", "text + a whole number is not defined"},
    {"{{ 1 / 0 }}", "division by zero"},
    {"{{ 9223372036854775807 + 1 }}", "does not fit 64 bits"},
    {"{{ raise_exception('not so') }}", "refuses the conversation: not so"},
    {"{% set messages.x = 1 %}", "on a namespace only"},
    {"{{ messages.append(1) }}", "has no method \"append\""},
    {"{% for a, b in [[1]] %}{% endfor %}", "2 names are given 1 values"},
    {"{% break %}", "must be inside a loop"},
    {"{{ 'a' | indent(withd=2) }}", "filter indent has no argument \"withd\""},
    {"{# never", "a comment does not end"},
    /* bounds */
    {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more than"},
    {"{{ range(999999999) }}", "more than 100000 numbers"},
    {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested calls"},
    {"{{ 'x' * 999999999 }}", "repeating makes more than"},
    {"{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
     "{% endfor %}",
     "more than"},
    {"{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% "
     "endfor %}"
     "{{ ns.l }}",
     "nested deeper"},
    {"{% for i in range(9999) %}{{ 'x' * 99999 }}{% endfor %}", "more than"},
};

START_TEST(wrong_templates_are_refused)
{
    char deep[4096];

    MUST(arena_open(&work, "work", (size_t)1 << 28));
    cJSON *messages = parse(conversation);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        char *got;
        MUST_FAIL(render(refused[i].text, messages, false, &got), refused[i].message);
    }
    size_t size = (size_t)sprintf(deep, "{{");
    for (int i = 0; i < 500; i++)
        size += (size_t)sprintf(deep + size, " not");
    sprintf(deep + size, " 1 }}");
    char *got;
    MUST_FAIL(render(deep, messages, false, &got), "nested deeper than 64");
    MUST_FAIL(chat_render(&work, "{{ \0 }}", 7, messages, false, NULL, &got, &(size_t){0}), "NUL");
    cJSON_Delete(messages);
    arena_close(&work);
}
END_TEST

/* ---- templates in the manner of other families ---- */

static const char llama_style[] =
    "{{- bos_token }}\n"
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {%- set system_message = messages[0]['content'] | trim %}\n"
    "    {%- set messages = messages[1:] %}\n"
    "{%- else %}\n"
    "    {%- set system_message = '' %}\n"
    "{%- endif %}\n"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + system_message + '<|eot_id|>' }}\n"
    "{%- for message in messages %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
    "message['content'] | trim + '<|eot_id|>' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n"
    "{%- endif %}\n";

static const char mistral_style[] =
    "{%- if messages[0].role == 'system' %}{% set first = messages[0].content %}"
    "{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}\n"
    "{{- bos_token }}\n"
    "{%- for message in rest %}\n"
    "    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}\n"
    "        {{- raise_exception('roles must alternate') }}\n"
    "    {%- endif %}\n"
    "    {%- if message.role == 'user' %}\n"
    "        {{- '[INST] ' + (first + '\\n\\n' if loop.first and first is defined else '') + "
    "message.content + ' [/INST]' }}\n"
    "    {%- else %}\n"
    "        {{- ' ' + message.content | trim + eos_token }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n";

static const char qwen_style[] =
    "{%- macro turn(role, text) %}<|im_start|>{{ role }}\n{{ text }}<|im_end|>\n{% endmacro %}\n"
    "{%- if tools %}{{- turn('system', 'Tools:\\n' ~ (tools | map('tojson') | join('\\n'))) }}\n"
    "{%- elif messages[0].role != 'system' %}{{- turn('system', 'Be helpful.') }}{% endif %}\n"
    "{%- set ns = namespace(users=0) %}\n"
    "{%- for message in messages %}\n"
    "    {%- if message.content is string %}{% set content = message.content %}"
    "{% else %}{% set content = message.content | map(attribute='text') | join %}{% endif %}\n"
    "    {%- if message.role == 'user' %}{% set ns.users = ns.users + 1 %}{% endif %}\n"
    "    {{- turn(message.role, content) }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{% endif %}";

/* Renders and checks the text, and the one span. */
static void check_style(const char *style, const char *messages, const char *text, const char *span)
{
    cJSON *root = parse(messages);
    char *got;
    size_t n;
    chat_span *spans;
    int64_t n_spans;

    MUST(chat_render_spans(&work, style, strlen(style), root, &extras, &got, &n, &spans, &n_spans));
    ck_assert_str_eq(got, text);
    ck_assert_int_eq(n_spans, 1);
    ck_assert_uint_eq(spans[0].end - spans[0].begin, strlen(span));
    ck_assert(memcmp(got + spans[0].begin, span, strlen(span)) == 0);
    cJSON_Delete(root);
}

START_TEST(styles_of_other_families)
{
    static const char talk[] = "[{\"role\": \"user\", \"content\": \"Hi\"},"
                               " {\"role\": \"assistant\", \"content\": \" Yo \"},"
                               " {\"role\": \"user\", \"content\": \"Bye\"}]";

    MUST(arena_open(&work, "work", (size_t)1 << 28));
    check_style(llama_style, talk,
                "<s><|start_header_id|>system<|end_header_id|>\n\n<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\nYo<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>",
                "Yo<|eot_id|>");
    check_style(mistral_style, talk, "<s>[INST] Hi [/INST] Yo</s>[INST] Bye [/INST]", " Yo</s>");
    check_style(qwen_style, talk,
                "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                "<|im_start|>assistant\n Yo <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n",
                " Yo <|im_end|>");

    cJSON *twice = parse("[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"user\", "
                         "\"content\": \"b\"}]");
    char *got;
    MUST_FAIL(render(mistral_style, twice, false, &got), "roles must alternate");
    cJSON_Delete(twice);

    /* a template that rewrites what was said before */
    static const char last_only[] = "{% for m in messages %}{% if loop.last or m.role == 'user' %}"
                                    "<{{ m.content }}>{% endif %}{% endfor %}";
    cJSON *root = parse(talk);
    size_t n;
    chat_span *spans;
    int64_t n_spans;
    MUST_FAIL(chat_render_spans(&work, last_only, strlen(last_only), root, &extras, &got, &n,
                                &spans, &n_spans),
              "what is trained on cannot be found");
    cJSON_Delete(root);
    arena_close(&work);
}
END_TEST

/* ---- damage ---- */

START_TEST(random_damage)
{
    static const char *const styles[] = {llama_style, mistral_style, qwen_style};
    static const char *const pieces[] = {"{%",   "%}",   "{{",    "}}", "-",   "(",      ")",  "[",
                                         "]",    "|",    ".",     "if", "for", "endfor", "'",  "\\",
                                         "\n",   "set",  "macro", "is", "not", "in",     "{#", "#}",
                                         "loop", "else", "**",    "~",  ",",   ":"};
    const int n = 2000;
    int accepted = 0;

    MUST(arena_open(&work, "work", (size_t)1 << 28));
    cJSON *messages = parse(conversation);
    for (int i = 0; i < n; i++) {
        arena_rewind(&work, 0);
        const char *style = styles[i % 3];
        char text[4096];
        size_t size = strlen(style);
        memcpy(text, style, size + 1);
        uint64_t r = (uint64_t)i * 0x9E3779B97F4A7C15u + 1;
        for (int k = 0; k <= i % 4; k++) {
            r ^= r << 13, r ^= r >> 7, r ^= r << 17;
            const size_t at = r % size;
            const char *piece = pieces[(r >> 32) % COUNT_OF(pieces)];
            const size_t m = strlen(piece);
            if ((r >> 20) % 3 == 0)
                text[at] = (char)(r >> 40);
            else if ((r >> 20) % 3 == 1 && size > 1) {
                memmove(text + at, text + at + 1, size - at);
                size--;
            } else {
                memmove(text + at + m, text + at, size - at + 1);
                memcpy(text + at, piece, m);
                size += m;
            }
        }
        char *got;
        size_t length;
        status_clear();
        const status s = chat_render(&work, text, size, messages, true, &extras, &got, &length);
        accepted += s == STATUS_OK;
        ck_assert_msg(s == STATUS_OK || strstr(status_text(), "chat template"), "%s",
                      status_text());
    }
    ck_assert_int_gt(accepted, n / 100); /* both ways are walked */
    ck_assert_int_lt(accepted, n - n / 100);
    cJSON_Delete(messages);
    arena_close(&work);
}
END_TEST

TESTS(chat, language_is_jinja2, wrong_templates_are_refused,
      styles_of_other_families, random_damage)
