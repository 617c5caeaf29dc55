/* router: who answers where several modules sit on one site.
 *
 * A router is a method (peft/peft.h) in a file of its own and a row in peft/routers.def. It is added behind the
 * modules that it decides between, sits on all of their sites, and computes there in their place: their hooks are
 * taken off. What it trains itself, saves and counts it says as any method does. Its options begin with
 * router_options.
 *
 * The modules are plain LoRAs, of any ranks and scales; one may be missing at some sites. */
#ifndef PEFT_ROUTER_H
#define PEFT_ROUTER_H

#include "peft/peft.h"

typedef struct router_options {
    int64_t n; /* modules; set by peft_route */
} router_options;

/* Finds a router; NULL when there is none. peft_routers lists all; *n their number. */
const peft_method        *peft_find_router(const char *name);
const peft_method *const *peft_routers(int *n);

/* Adds a router named `name` over the modules with these names, in this order; n 0: all. Options are copied. Modules
 * that are no plain LoRAs, or sit where no rows of tokens go through, are refused. */
status peft_route(peft *p, const char *name, const peft_method *router, const void *options, const char *const *over,
                  int n_over);

/* The modules' factors at one site. */
typedef struct router_experts {
    peft         *p;
    const int    *over;               /* [n] numbers of the modules */
    int64_t       n, rank, ranks;     /* modules; the largest and the sum of the ranks here */
    tuned       **a, **b;             /* [n]; NULL: the module does not sit here */
    double       *scale;              /* [n] */
    bool          train;              /* one of the modules does */
    tensor        table, scales, owner; /* for ag_lora_gated and ag_gain_columns */
    int32_t      *rows;               /* of the table */
} router_experts;

/* For attach: those at at->s. */
status router_experts_at(const peft_attach *at, router_experts *out);

/* y + the sum over the modules of w[n,e] times what module e adds, w [N, n] with at most `most` values in a row that
 * are not 0: as one product with all factors, or sorted by module where that is less. */
var *router_mixture(tape *t, router_experts *x, var *y, var *in, var *w, int64_t most);

/* Two forms of the same, for tests and benchmarks: the rule, whatever the shapes. */
typedef enum router_form { ROUTER_BY_SHAPE, ROUTER_STACKED, ROUTER_SORTED } router_form;
void router_force(router_form form);

/* ---- files: peft/router_file.c --- */

/* The router's part of a folder's adapter_config.json: the modules in their order, where their folders lie, and
 * hashes of what these hold. `folder` is the router's, beside whose files theirs lie already. */
status router_write(const peft *p, int module, const char *folder, cJSON *config);

/* The folder's list must be that of the router's modules, in that order, and its hashes those of their files. */
status router_check(const peft *p, int module, const char *folder);

/* The folder is a router's. */
status router_is_folder(arena *a, const char *folder, bool *is);

/* Adds the modules of a router's folder, and the router. */
status router_add(peft *p, const char *folder);

#endif
