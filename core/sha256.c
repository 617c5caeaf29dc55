/* sha256: libcrypto's EVP interface behind three functions */
#include "core/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

status sha256_open(sha256 *h)
{
    h->context = EVP_MD_CTX_new();
    if (!h->context || EVP_DigestInit_ex(h->context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(h->context);
        h->context = NULL;
        return fail(STATUS_MEMORY, "sha256: libcrypto gives no digest");
    }
    return STATUS_OK;
}

void sha256_add(sha256 *h, const void *bytes, size_t count)
{
    CHECK(EVP_DigestUpdate(h->context, bytes, count) == 1);
}

void sha256_close(sha256 *h, char hex[SHA256_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    CHECK(EVP_DigestFinal_ex(h->context, digest, NULL) == 1);
    EVP_MD_CTX_free(h->context);
    h->context = NULL;
    for (int i = 0; hex && i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

status sha256_bytes(const void *bytes, size_t count, char hex[SHA256_HEX])
{
    sha256 h;

    TRY(sha256_open(&h));
    sha256_add(&h, bytes, count);
    sha256_close(&h, hex);
    return STATUS_OK;
}

static status add_all(sha256 *h, int fd, const char *path)
{
    char buffer[1 << 16];

    for (;;) {
        const ssize_t n = read(fd, buffer, sizeof buffer);
        if (n == 0)
            return STATUS_OK;
        if (n > 0)
            sha256_add(h, buffer, (size_t)n);
        else if (errno != EINTR)
            return fail(STATUS_IO, "%s: cannot read: %s", path, strerror(errno));
    }
}

status sha256_file(const char *path, char hex[SHA256_HEX])
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    sha256    h;

    if (fd < 0)
        return fail(STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
    status s = sha256_open(&h);
    if (s == STATUS_OK) {
        s = add_all(&h, fd, path);
        sha256_close(&h, s == STATUS_OK ? hex : NULL);
    }
    close(fd);
    return s;
}
