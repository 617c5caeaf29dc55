/* fetch hf: a model repository in Hugging Face layout, over HTTPS.
 *
 * Files are collected in OWNER--NAME.part: each as FILE.part, beside it the ETag of the version it
 * belongs to, and under its name once it is whole. A later try goes on with what lies there. When
 * all are there the folder is renamed. */
#include "data/fetch.h"
#include "data/process.h"

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES_WITHOUT_PROGRESS = 3 };

static const char default_endpoint[] = "https://huggingface.co";

/* A repository that is being fetched. */
typedef struct repository {
    arena      *a;
    CURL       *curl;
    const char *endpoint, *name, *revision;
    char       *part; /* the folder that is being filled */
} repository;

/* One request. */
typedef struct transfer {
    CURL   *curl;
    FILE   *f;
    int64_t from;           /* bytes that were there before */
    int64_t range_from;     /* of Content-Range, -1: none */
    bool    started, wrong; /* wrong: an answer that does not fit the question */
    int     write_error;
    const char *etag_path;
    char    etag[256], linked[256]; /* ETag; of large files the hub names their SHA-256 */
    char    label[200];
} transfer;

/* Copies a header's value without blanks and line end; true when the line is that header. */
static bool header_is(const char *line, size_t n, const char *name, char out[256])
{
    const size_t m = strlen(name);
    size_t       to = 0;

    if (n <= m || line[m] != ':' || strncasecmp(line, name, m) != 0)
        return false;
    for (size_t i = m + 1; i < n && to < 255; i++)
        if (line[i] > ' ')
            out[to++] = line[i];
    out[to] = '\0';
    return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
    transfer *t = context;
    char      value[256];

    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* a redirection's next answer */
        t->etag[0] = '\0';
        t->range_from = -1;
    } else if (header_is(line, n, "etag", value)) {
        snprintf(t->etag, sizeof t->etag, "%s", value);
    } else if (header_is(line, n, "x-linked-etag", value)) {
        snprintf(t->linked, sizeof t->linked, "%s", value);
    } else if (header_is(line, n, "content-range", value)) {
        long long from;
        if (sscanf(value, "bytes%lld-", &from) == 1)
            t->range_from = from;
    }
    return size * n;
}

/* Says which version the bytes that follow belong to; a weak tag says too little. */
static void note_etag(transfer *t)
{
    const bool strong = t->etag[0] == '"' && strlen(t->etag) > 2;

    if (!strong)
        unlink(t->etag_path);
    else if (file_replace(t->etag_path, t->etag + 1, strcspn(t->etag + 1, "\"")) != STATUS_OK)
        t->write_error = EIO;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *context)
{
    transfer *t = context;
    long      code = 0;

    if (!t->started) {
        t->started = true;
        curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
        if (code == 206 && t->range_from != t->from) {
            t->wrong = true;
            return 0;
        }
        if (code == 200 && t->from > 0) { /* another version, or no ranges here: from the start */
            if (ftruncate(fileno(t->f), 0) != 0 || fseek(t->f, 0, SEEK_SET) != 0)
                t->write_error = errno;
            t->from = 0;
        }
        if (t->from == 0)
            note_etag(t);
    }
    if (!t->write_error && fwrite(bytes, size, n, t->f) != n)
        t->write_error = errno ? errno : EIO;
    return t->write_error ? 0 : size * n;
}

static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up)
{
    const transfer *t = context;
    char            line[300];

    (void)up_total, (void)up;
    if (total > 10000000) {
        snprintf(line, sizeof line, "%s: %.0f of %.0f MB", t->label, (double)(t->from + now) / 1e6,
                 (double)(t->from + total) / 1e6);
        log_live(line);
    }
    return 0;
}

static void set_up(const repository *r, transfer *t, const char *url)
{
    const bool  plain = strncasecmp(r->endpoint, "http://", 7) == 0; /* only where the user says so */
    const char *token = getenv("HF_TOKEN");
    CURL       *c = r->curl;

    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, 8L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, plain ? "http,https" : "https");
#else
    const long allowed = plain ? CURLPROTO_HTTP | CURLPROTO_HTTPS : CURLPROTO_HTTPS;
    curl_easy_setopt(c, CURLOPT_PROTOCOLS, allowed);
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS, allowed);
#endif
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 20L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1000L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 30L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "cambium");
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    if (token && token[0]) { /* libcurl keeps it from other hosts that an answer leads to */
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, token);
    }
}

static int64_t file_size(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* One request for a file: goes on behind what `part` holds if its ETag is known. */
static status request(const repository *r, const char *url, const char *part, const char *etag_path,
                      transfer *t, CURLcode *result, long *code)
{
    struct curl_slist *headers = NULL;
    char               range[40], condition[300], *etag = NULL;
    size_t             n = 0;

    *t = (transfer){.curl = r->curl, .range_from = -1, .etag_path = etag_path};
    snprintf(t->label, sizeof t->label, "%.100s", strrchr(url, '/') + 1);
    if (path_exists(etag_path))
        TRY(file_read(r->a, etag_path, 256, &etag, &n));
    t->f = fopen(part, etag && n > 0 ? "ab" : "wb");
    if (!t->f)
        return fail(STATUS_IO, "%s: cannot be written: %s", part, strerror(errno));
    set_up(r, t, url);
    if (etag && n > 0 && (t->from = file_size(part)) > 0) {
        snprintf(range, sizeof range, "%lld-", (long long)t->from);
        snprintf(condition, sizeof condition, "If-Range: \"%.256s\"", etag);
        curl_easy_setopt(r->curl, CURLOPT_RANGE, range);
        headers = curl_slist_append(headers, condition);
        curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, headers);
    }
    *result = curl_easy_perform(r->curl);
    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, code);
    curl_slist_free_all(headers);
    log_live(NULL);
    if (fclose(t->f) != 0 && !t->write_error)
        t->write_error = errno;
    if (t->write_error)
        return fail(STATUS_IO, "%s: cannot be written: %s", part, strerror(t->write_error));
    return STATUS_OK;
}

/* The hub's SHA-256 of a large file, where it gave one. */
static status check_hash(const char *part, const char *linked)
{
    const char *must = linked[0] == '"' ? linked + 1 : linked;
    char        is[65];

    if (strspn(must, "0123456789abcdef") != 64)
        return STATUS_OK;
    TRY(fetch_sha256(part, is));
    if (strncmp(is, must, 64) != 0) {
        unlink(part);
        return fail(STATUS_FORMAT, "has SHA-256 %s, must be %.64s; it was removed, try again", is, must);
    }
    return STATUS_OK;
}

static status explain(const repository *r, const char *file, const char *url, CURLcode result, long code,
                      int64_t kept)
{
    if (code == 401 || code == 403)
        return fail(STATUS_IO, "base: hf:%s: %s may not be read (HTTP %ld at %s): set HF_TOKEN to a token "
                               "that has access",
                    r->name, file, code, url);
    if (code >= 400 && code < 500 && code != 429)
        return fail(STATUS_IO, "base: hf:%s: there is no %s (HTTP %ld at %s)", r->name, file, code, url);
    return fail(STATUS_IO,
                "base: hf:%s: %s could not be fetched from %s: %s (HTTP %ld)\n"
                "%lld bytes of it are kept: run again to go on; check the network, or set HF_ENDPOINT to "
                "a mirror, or give a folder as base",
                r->name, file, url, curl_easy_strerror(result), code, (long long)kept);
}

/* Fetches one file into the part folder; *got is false when it is not there and need not be. */
static status get(const repository *r, const char *file, bool need, bool *got)
{
    char *whole = path_join(r->a, r->part, file);
    char *part = arena_printf(r->a, "%s/%s.part", r->part, file);
    char *etag = arena_printf(r->a, "%s/%s.etag", r->part, file);
    char *url = arena_printf(r->a, "%s/%s/resolve/%s/%s", r->endpoint, r->name, r->revision, file);

    if (!whole || !part || !etag || !url)
        return STATUS_MEMORY;
    *got = path_exists(whole);
    if (*got)
        return STATUS_OK;
    for (int tries = 0; tries < TRIES_WITHOUT_PROGRESS;) {
        const int64_t before = file_size(part);
        transfer      t;
        CURLcode      result = CURLE_OK;
        long          code = 0;

        TRY(request(r, url, part, etag, &t, &result, &code));
        if (result == CURLE_OK) {
            unlink(etag);
            TRY_IN(check_hash(part, t.linked), "in hf:%s: %s", r->name, file);
            if (rename(part, whole) != 0)
                return fail(STATUS_IO, "%s: cannot be renamed: %s", part, strerror(errno));
            *got = true;
            return STATUS_OK;
        }
        if (code == 416 || t.wrong) { /* what is kept does not fit: from the start */
            unlink(part);
            unlink(etag);
            tries++;
            continue;
        }
        if (code >= 400 && code < 500 && code != 429) {
            unlink(part);
            unlink(etag);
            return code == 404 && !need ? STATUS_OK : explain(r, file, url, result, code, 0);
        }
        tries = file_size(part) > before ? 0 : tries + 1;
        if (tries >= TRIES_WITHOUT_PROGRESS)
            return explain(r, file, url, result, code, file_size(part));
        usleep(300000u << tries);
    }
    return fail(STATUS_IO, "base: hf:%s: %s: the server's ranges contradict each other", r->name, file);
}

static bool plain_name(const char *name)
{
    const size_t n = strlen(name);

    return n > 12 && n < 200 && name[0] != '.' && strcmp(name + n - 12, ".safetensors") == 0 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/* Every file that the index names. */
static status get_shards(const repository *r)
{
    char  *path = path_join(r->a, r->part, "model.safetensors.index.json");
    cJSON *index;
    bool   got;
    status s = STATUS_OK;

    if (!path)
        return STATUS_MEMORY;
    TRY(json_read(path, &index));
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map"), *item;
    if (!cJSON_IsObject(map) || !map->child)
        s = fail(STATUS_FORMAT, "%s: weight_map must name the files of the tensors", path);
    for (item = s == STATUS_OK ? map->child : NULL; item && s == STATUS_OK; item = item->next) {
        if (!cJSON_IsString(item) || !plain_name(item->valuestring))
            s = fail(STATUS_FORMAT, "%s: %.100s must be in a file name.safetensors, without a folder",
                     path, item->string);
        else if (item == map->child || strcmp(item->valuestring, item->prev->valuestring) != 0)
            s = get(r, item->valuestring, true, &got);
    }
    cJSON_Delete(index);
    return s;
}

static status get_all(const repository *r, const char *folder)
{
    static const char *const optional[] = {"tokenizer.json", "tokenizer_config.json",
                                           "chat_template.jinja", "generation_config.json"};
    bool got;

    TRY(folder_make(r->part));
    TRY(get(r, "config.json", true, &got));
    for (size_t i = 0; i < COUNT_OF(optional); i++)
        TRY(get(r, optional[i], false, &got));
    TRY(get(r, "model.safetensors.index.json", false, &got));
    if (got)
        TRY(get_shards(r));
    else
        TRY(get(r, "model.safetensors", true, &got));
    return folder_publish(r->part, folder);
}

/* "owner/name" or "owner/name@revision" into its parts. */
static status parse(repository *r, const char *spec)
{
    const char  *at = strchr(spec, '@'), *slash = strchr(spec, '/');
    const size_t n = at ? (size_t)(at - spec) : strlen(spec);
    bool good = slash && slash > spec && slash < spec + n - 1 && n < 200 && isalnum((unsigned char)spec[0]) &&
                slash[1] != '.';

    for (const char *p = spec; good && *p; p++)
        good = isalnum((unsigned char)*p) || strchr("._-", *p) || p == slash || p == at;
    if (!good || (at && (!at[1] || at[1] == '.')))
        return fail(STATUS_USAGE, "base: hf:%.100s: must be hf:owner/name or hf:owner/name@revision", spec);
    r->name = arena_string(r->a, spec, n);
    r->revision = at ? at + 1 : "main";
    return r->name ? STATUS_OK : STATUS_MEMORY;
}

status fetch_hf(arena *a, const char *name, char **path)
{
    repository  r = {.a = a};
    const char *endpoint = getenv("HF_ENDPOINT");
    char       *cache, *folder, *lock;
    int         fd;

    TRY(parse(&r, name));
    TRY(cache_folder(a, &cache));
    folder = arena_printf(a, "%s/hf/%s%s%s", cache, r.name, strchr(name, '@') ? "@" : "",
                          strchr(name, '@') ? r.revision : "");
    r.endpoint = arena_string(a, endpoint && endpoint[0] ? endpoint : default_endpoint,
                              strlen(endpoint && endpoint[0] ? endpoint : default_endpoint));
    if (!folder || !r.endpoint)
        return STATUS_MEMORY;
    char *slash = strrchr(folder, '/');
    slash = arena_printf(a, "%.*s--%s", (int)(slash - folder), folder, slash + 1);
    if (!slash || !(r.part = arena_printf(a, "%s.part", slash)) ||
        !(lock = arena_printf(a, "%s.lock", slash)))
        return STATUS_MEMORY;
    folder = slash;
    if (!path_is_folder(folder)) {
        TRY(folder_make(path_join(a, cache, "hf")));
        TRY(file_lock(lock, &fd));
        status s = STATUS_OK;
        if (!path_is_folder(folder)) {
            log_info("fetching hf:%s from %s", name, r.endpoint);
            r.curl = curl_easy_init();
            s = r.curl ? get_all(&r, folder) : fail(STATUS_MEMORY, "hf: libcurl has no memory");
            curl_easy_cleanup(r.curl);
        }
        file_unlock(fd);
        TRY(s);
    }
    TRY_IN(fetch_look(a, folder, path), "in hf:%s", name);
    return STATUS_OK;
}
