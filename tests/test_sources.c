/* sources: csv and conll */
#include "data/example.h"
#include "data/source.h"
#include "tests/helpers.h"

#include "core/file.h"

static arena a;
static char  folder[64];

static void begin(void)
{
    MUST(arena_open(&a, "setup", (size_t)1 << 30));
    test_folder(folder);
}

static void end(void)
{
    MUST(folder_remove_tree(folder));
    arena_close(&a);
}

static const char *write_bytes(const char *name, const char *text, size_t n)
{
    char *path = path_join(&a, folder, name);

    MUST(file_replace(path, text, n));
    return path;
}

static void must_field(const record *r, const char *name, const char *text)
{
    const field *f = record_field(r, name);

    ck_assert_msg(f != NULL, "there is no field %s", name);
    ck_assert_str_eq(f->text, text);
    ck_assert_uint_eq(f->length, strlen(text));
}

/* ---- csv --------------------------------------------------------------------------------------------- */

static status load_csv(const char *text, csv_options o, records *r)
{
    o.path = write_bytes("a.csv", text, strlen(text));
    o.delimiter = o.delimiter ? o.delimiter : ",";
    return source_load(&a, "csv", &o, r);
}

#define CSV(...) ((csv_options){.quotes = true, __VA_ARGS__})
static const csv_options rfc = {.quotes = true};
#define LIST(...) {sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (const char *const[]){__VA_ARGS__}}

START_TEST(csv)
{
    records r;

    begin();
    MUST(load_csv("\xef\xbb\xbfprompt,target,label,task\r\n"
                  "a,b,3,0\r\n"
                  "\r\n"
                  "\"x, \"\"y\"\"\n\r\nz\",\"\",12,1\n"
                  ",\xc3\xa9 ,0,2147483647",
                  rfc, &r));
    ck_assert_int_eq(r.n, 3);
    ck_assert_int_eq(r.v[0].n_fields, 4);
    must_field(&r.v[0], "prompt", "a");
    must_field(&r.v[1], "prompt", "x, \"y\"\n\r\nz");
    must_field(&r.v[1], "target", "");
    must_field(&r.v[2], "prompt", "");
    must_field(&r.v[2], "target", "\xc3\xa9 ");
    ck_assert_int_eq(r.v[0].line, 2);
    ck_assert_int_eq(r.v[1].line, 4);
    ck_assert_int_eq(r.v[2].line, 7);
    ck_assert_int_eq(r.v[1].label, 12);
    ck_assert_int_eq(r.v[2].task, INT32_MAX);
    ck_assert_str_eq(r.plain.target, "{target}");
    end();
}
END_TEST

START_TEST(csv_options_)
{
    records r;

    begin();
    MUST(load_csv("in\t1\t\"it\" is\nout\t2\tx\r\n",
                  (csv_options){.delimiter = "tab",
                                .columns = LIST("split", "label", "text"),
                                .fields = LIST("text")},
                  &r));
    ck_assert_int_eq(r.n, 2);
    ck_assert_int_eq(r.v[0].n_fields, 1);
    must_field(&r.v[0], "text", "\"it\" is");
    must_field(&r.v[1], "text", "x");
    ck_assert_int_eq(r.v[0].line, 1);
    ck_assert_int_eq(r.v[0].label, -1); /* not taken */
    ck_assert_str_eq(r.plain.prompt, "{text}");

    MUST(load_csv("label;text\n1;a\ngood;b\n", CSV(.delimiter = ";"), &r));
    ck_assert_int_eq(r.v[0].label, -1); /* not all are numbers */
    MUST(records_classes(&a, &r, "label", 0, NULL));
    ck_assert_int_eq(r.v[1].label, 1);
    MUST(load_csv("label\n2147483648\n", rfc, &r));
    ck_assert_int_eq(r.v[0].label, -1);
    ck_assert_ptr_null(r.plain.prompt);
    end();
}
END_TEST

START_TEST(csv_refused)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "a.csv: holds no records"},
        {"a,b\n", "a.csv: holds no records"},
        {"a,b\n1,2\n\n1,2,3\n", "a.csv:4: has 3 cells, there are 2 columns"},
        {"a,b\n1\n", "a.csv:2: has 1 cells"},
        {"a,a\n1,2\n", "a.csv:1: column 2 is called \"a\""},
        {"a,\n1,2\n", "a.csv:1: column 2 has no name"},
        {"a\n\"x\ny\"z\n", "a.csv:3: a closing quote must be followed"},
        {"a\nx\"y\"\n", "a.csv:2: a quote inside a cell"},
        {"a\nx\n\n\"y\n\n", "a.csv:4: a quoted cell has no closing quote"},
        {"a\nx\n\xff\n", "a.csv:3: not valid UTF-8 at byte 4"},
    };
    char    wide[2 * 1024 + 4];
    records r;

    begin();
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        MUST_FAIL(load_csv(cases[i].text, rfc, &r), cases[i].says);
    MUST_FAIL(load_csv("a\nx\n", CSV(.delimiter = "ab"), &r), "delimiter is \"ab\"");
    MUST_FAIL(load_csv("a\nx\n", CSV(.delimiter = "\""), &r), "delimiter is");
    MUST_FAIL(load_csv("a\nx\n", CSV(.delimiter = ""), &r), "delimiter is");
    MUST_FAIL(load_csv("text\nx\n", CSV(.fields = LIST("txt")), &r), "has no column txt; did you mean 'text'?");
    MUST_FAIL(load_csv("x\n", CSV(.columns = LIST("b", "b")), &r), "\"b\" is there twice");
    memset(wide, ',', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    MUST_FAIL(load_csv(wide, rfc, &r), "a.csv:1: has more than 1024 cells");
    MUST_FAIL(source_load(&a, "csv", &(csv_options){.path = "/none.csv", .delimiter = ","}, &r), "/none.csv");
    end();
}
END_TEST

/* ---- conll ------------------------------------------------------------------------------------------- */

static status load_conll(const char *text, conll_options o, records *r)
{
    static const char *const ends[] = {"1", "-1"};

    o.path = write_bytes("a.conll", text, strlen(text));
    if (o.columns.n == 0)
        o.columns = (key_texts){2, ends};
    return source_load(&a, "conll", &o, r);
}

/* "EU/B-ORG rejects/O", as the numbers of the tags say. */
static void must_be(const records *r, int64_t i, const char *sentence, int64_t line)
{
    const record *x = &r->v[i];
    char          text[256] = "";
    size_t        n = 0;

    for (int32_t k = 0; k < x->n_words; k++) {
        ck_assert_uint_eq(x->words[k].length, strlen(x->words[k].text));
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", k ? " " : "", x->words[k].text);
        if (x->tags)
            n += (size_t)snprintf(text + n, sizeof text - n, "/%s", r->labels[x->tags[k]]);
    }
    ck_assert_str_eq(text, sentence);
    ck_assert_int_eq(x->line, line);
}

START_TEST(conll)
{
    records r;

    begin();
    MUST(load_conll("-DOCSTART- -X- -X- O\n\n"
                    "EU NNP B-NP B-ORG\r\nrejects VBZ B-VP O\n. . O O\n\n \t\n"
                    "# NN B-NP O\n"
                    "-DOCSTART- -X- O O\n"
                    "Peter\tNNP  I-NP B-PER\n1-2 CD I-NP O",
                    (conll_options){0}, &r));
    ck_assert_int_eq(r.n, 3);
    must_be(&r, 0, "EU/B-ORG rejects/O ./O", 3);
    must_be(&r, 1, "#/O", 8);
    must_be(&r, 2, "Peter/B-PER 1-2/O", 10);
    ck_assert_int_eq(r.n_labels, 3);
    ck_assert_str_eq(r.labels[2], "O"); /* sorted */
    must_field(&r.v[0], "text", "EU rejects .");
    must_field(&r.v[0], "tags", "B-ORG O O");

    MUST(load_conll("a x y\nb z\n", (conll_options){.columns = LIST("-2", "2")}, &r));
    must_be(&r, 0, "x/x b/z", 1);
    MUST(load_conll("a x\nb\n", (conll_options){.columns = LIST("1")}, &r));
    must_be(&r, 0, "a b", 1);
    ck_assert_ptr_null(r.v[0].tags);
    ck_assert_int_eq(r.n_labels, 0);
    ck_assert_int_eq(r.v[0].n_fields, 1);
    end();
}
END_TEST

START_TEST(conllu)
{
    records r;

    begin();
    MUST(load_conll("# text = vamonos al\n"
                    "1-2\tvamonos\t_\t_\n1\tvamos\t\tVERB\n2\tnos\t_\tPRON\n2.1\tno\t_\tNONE\n"
                    "# in between\n3\tal mar\t_\tADP\n\n"
                    "# text = no\n1\tno\t_\tADV\n",
                    (conll_options){.columns = LIST("2", "4"), .conllu = true}, &r));
    ck_assert_int_eq(r.n, 2);
    must_be(&r, 0, "vamos/VERB nos/PRON al mar/ADP", 3);
    must_be(&r, 1, "no/ADV", 10);
    ck_assert_int_eq(r.n_labels, 4);
    end();
}
END_TEST

START_TEST(conll_refused)
{
    char    wide[2 * 257 + 1];
    records r;

    begin();
    MUST_FAIL(load_conll("", (conll_options){0}, &r), "a.conll: holds no records");
    MUST_FAIL(load_conll("-DOCSTART- O\n\n", (conll_options){0}, &r), "a.conll: holds no sentence");
    MUST_FAIL(load_conll("a b\n\nc\n", (conll_options){.columns = LIST("1", "2")}, &r),
              "a.conll:3: has 1 columns, column 2 is wanted");
    MUST_FAIL(load_conll("a b\nc\n", (conll_options){.columns = LIST("1", "-2")}, &r), "a.conll:2: has 1 columns");
    MUST_FAIL(load_conll("1\t\tX\n", (conll_options){.columns = LIST("2", "3"), .conllu = true}, &r),
              "a.conll:1: column 2 is empty");
    MUST_FAIL(load_conll("a b\n\xc3 b\n", (conll_options){0}, &r), "a.conll:2: not valid UTF-8 at byte 0");
    MUST_FAIL(load_conll("a\n", (conll_options){.columns = LIST("1", "0")}, &r), "columns: \"0\" must be");
    MUST_FAIL(load_conll("a\n", (conll_options){.columns = LIST("word")}, &r), "columns: \"word\" must be");
    MUST_FAIL(load_conll("a\n", (conll_options){.columns = LIST("1", "2", "3")}, &r), "columns has 3 numbers");
    for (size_t i = 0; i < sizeof wide - 1; i++)
        wide[i] = i % 2 ? ' ' : 'x';
    wide[sizeof wide - 1] = '\0';
    MUST_FAIL(load_conll(wide, (conll_options){0}, &r), "a.conll:1: has more than 256 columns");
    end();
}
END_TEST

TESTS(sources, csv, csv_options_, csv_refused, conll, conllu, conll_refused)
