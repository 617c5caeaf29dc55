/* template: records as pieces of text, and which of them are learnt */
#include "data/template.h"
#include "tests/helpers.h"

static const char plain[] = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<end>\n{% endfor %}"
                            "{% if add_generation_prompt %}[assistant]{% endif %}";
/* before an answer it opens a thought that turns do not have */
static const char thinks[] = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<end>\n{% endfor %}"
                             "{% if add_generation_prompt %}[assistant]<think>{% endif %}";
/* it numbers turns from the end, so that a new one changes those before */
static const char rewrites[] = "{% for m in messages %}{{ loop.revindex }}[{{ m.role }}]{{ m.content }}<end>\n"
                               "{% endfor %}{% if add_generation_prompt %}0[assistant]{% endif %}";

static status render(void *context, arena *a, const cJSON *messages, char **text, size_t *length, chat_span **spans,
                     int64_t *n_spans)
{
    return chat_render_spans(a, context, strlen(context), messages, NULL, text, length, spans, n_spans);
}

/* The pieces as text: targets in (..), other turns of the assistant in {..}. */
static status pieces_with(arena *a, const char *chat, const char *messages, const char *target, char out[512])
{
    static const field  worse = {"worse", "x y", 3};
    const chat_renderer renderer = {.render = render, .context = (void *)(uintptr_t)chat};
    const record        r = {.origin = "made", .line = 3, .messages = messages, .batch = -1, .label = -1,
                             .n_fields = 1, .fields = (field *)(uintptr_t)&worse};
    const records       all = {.n = 1, .v = (record *)(uintptr_t)&r};
    text_template       t = {.chat = true, .rejected = target};
    text_pieces         p;

    TRY(template_resolve(&t, &all, &renderer));
    t.words.target = target;
    TRY(template_render(&t, &renderer, &r, a, &p));
    out[0] = '\0';
    for (int i = 0; i < p.n; i++)
        snprintf(out + strlen(out), 512 - strlen(out), p.v[i].target ? "(%.*s)" : p.v[i].assistant ? "{%.*s}" : "%.*s",
                 (int)p.v[i].length, p.v[i].text);
    return STATUS_OK;
}

static status pieces_of(arena *a, const char *chat, const char *messages, char out[512])
{
    return pieces_with(a, chat, messages, NULL, out);
}

#define TURN(role, text) "{\"role\": \"" role "\", \"content\": \"" text "\"}"

START_TEST(answers_are_told_from_prompts)
{
    static const struct {
        const char *chat, *messages, *pieces;
    } cases[] = {
        {plain, "[" TURN("user", "a") ", " TURN("assistant", "b") "]", "[user]a<end>\n[assistant](b<end>)"},
        {plain, "[" TURN("system", "s") ", " TURN("user", "a") ", " TURN("assistant", "b") ", " TURN("user", "c") ", "
                TURN("assistant", "d") "]",
         "[system]s<end>\n[user]a<end>\n[assistant]{b<end>}\n[user]c<end>\n[assistant](d<end>)"},
        {plain, "[" TURN("user", "a") ", " TURN("assistant", "b") ", " TURN("user", "c") "]",
         "[user]a<end>\n[assistant](b<end>)\n[user]c<end>\n"},
        {plain, "[" TURN("user", "a") "]", "[user]a<end>\n"},
        {thinks, "[" TURN("user", "a") ", " TURN("assistant", "b") ", " TURN("user", "c") ", " TURN("assistant", "d") "]",
         "[user]a<end>\n[assistant]{b<end>}\n[user]c<end>\n[assistant](d<end>)"},
    };
    arena a;

    MUST(arena_open(&a, "test", (size_t)1 << 26));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char got[512];
        MUST(pieces_of(&a, cases[i].chat, cases[i].messages, got));
        ck_assert_str_eq(got, cases[i].pieces);
    }
    arena_close(&a);
}
END_TEST

START_TEST(turns_that_change_are_refused)
{
    char  got[512];
    arena a;

    MUST(arena_open(&a, "test", (size_t)1 << 26));
    MUST_FAIL(pieces_of(&a, rewrites, "[" TURN("user", "a") ", " TURN("assistant", "b") "]", got), "in made:3");
    MUST_FAIL(pieces_of(&a, rewrites, "[" TURN("user", "a") ", " TURN("assistant", "b") "]", got),
              "what is trained on cannot be found");
    arena_close(&a);
}
END_TEST

/* What is rejected takes the place of the last answer, and nothing else changes. */
START_TEST(a_target_is_the_last_answer)
{
    static const char talk[] = "[" TURN("user", "a") ", " TURN("assistant", "b") ", " TURN("user", "c") ", "
                               TURN("assistant", "d") "]";
    char  got[512];
    arena a;

    MUST(arena_open(&a, "test", (size_t)1 << 26));
    MUST(pieces_with(&a, plain, talk, "no, {worse}", got));
    ck_assert_str_eq(got, "[user]a<end>\n[assistant]{b<end>}\n[user]c<end>\n[assistant](no, x y<end>)");
    MUST_FAIL(pieces_with(&a, plain, talk, "{better}", got), "there is no field {better}");
    MUST_FAIL(pieces_with(&a, plain, "[" TURN("user", "a") "]", "{worse}", got),
              "made:3: its messages end with a turn of 'user'");
    arena_close(&a);
}
END_TEST

TESTS(template, answers_are_told_from_prompts, a_target_is_the_last_answer, turns_that_change_are_refused)
