/* fuzz_sources: the readers of data against inputs that are almost right (tests/fuzz). Ten seconds together, ten
 * minutes each with --slow; CAMBIUM_FUZZ_SECONDS sets another time. tests/run: no device, timeout 900 */
#include "data/source.h"
#include "tests/fuzz/fuzz.h"
#include "tests/helpers.h"

enum { READERS = 3 };

static double seconds(void)
{
    const char *given = getenv("CAMBIUM_FUZZ_SECONDS");

    return given ? atof(given) : getenv("CAMBIUM_SLOW") ? 600 : 10.0 / READERS;
}

/* Reads what the records point at: the sanitizers see what is not there. */
static status touch(const records *r)
{
    uint64_t sum = 0;

    for (int64_t i = 0; i < r->n; i++) {
        const record *x = &r->v[i];

        for (int k = 0; k < x->n_fields; k++)
            sum += strlen(x->fields[k].name) + strlen(x->fields[k].text) + x->fields[k].length;
        for (int k = 0; k < x->n_words; k++)
            sum += strlen(x->words[k].text) + (x->tags ? strlen(r->labels[x->tags[k]]) : 0);
        for (int64_t k = 0; x->pixels && k < (int64_t)x->height * x->width * 3; k++)
            sum += x->pixels[k];
        for (int k = 0; k < x->n_ids; k++)
            sum += (uint64_t)(x->ids[k] + x->labels[k]);
        if (x->label >= 0 && r->n_labels > 0)
            sum += strlen(r->labels[x->label]);
    }
    ck_assert(sum != UINT64_MAX);
    return STATUS_OK;
}

static void add_seed(fuzz_pool *p, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/tests/fuzz/seeds/%s", SOURCE_FOLDER, name);
    fuzz_add_file(p, path);
}

static status read_csv(arena *a, const char *path)
{
    records r;

    TRY(source_load(a, "csv", &(csv_options){.path = path, .delimiter = ",", .quotes = true}, &r));
    return touch(&r);
}

START_TEST(csv_files)
{
    static const char *const words[] = {",", "\"", "\"\"", "\n", "\r\n", "\r", "\xef\xbb\xbf", "\xc3\xa9", "\xff", "label",
                                        "1", ",\"", "\",", NULL};
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"csv", "input.csv", read_csv, words, (size_t)64 << 20});

    add_seed(p, "table.csv");
    fuzz_run(p, seconds());
}
END_TEST

static status read_conll(arena *a, const char *path)
{
    static const char *const columns[] = {"1", "-1"};
    records                  r;

    TRY(source_load(a, "conll", &(conll_options){.path = path, .columns = {2, columns}}, &r));
    return touch(&r);
}

static status read_conllu(arena *a, const char *path)
{
    static const char *const columns[] = {"2", "4"};
    records                  r;

    TRY(source_load(a, "conll", &(conll_options){.path = path, .columns = {2, columns}, .conllu = true}, &r));
    return touch(&r);
}

static const char *const conll_words[] = {"\n", "\n\n", "\r\n", "\t", " ", "-DOCSTART-", "# ", "1-2\t", "1.1\t", "\xc3\xa9",
                                          "\xff", "B-PER", "O", NULL};

START_TEST(conll_files)
{
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"conll", "input.conll", read_conll, conll_words, (size_t)64 << 20});

    add_seed(p, "sentences.conll");
    fuzz_run(p, seconds());
}
END_TEST

START_TEST(conllu_files)
{
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"conllu", "input.conllu", read_conllu, conll_words, (size_t)64 << 20});

    add_seed(p, "sentences.conllu");
    fuzz_run(p, seconds());
}
END_TEST

TESTS(fuzz_sources, csv_files, conll_files, conllu_files)
