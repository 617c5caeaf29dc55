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
                  (csv_options){.delimiter = "tab", .columns = LIST("split", "label", "text"), .fields = LIST("text")},
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

TESTS(sources, csv, csv_options_, csv_refused)
