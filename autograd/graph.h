/* graph: what a tape is made of (CUDA graphs: on_device.c). Private to the .c files of autograd; tests/test_tape.c
 * looks inside. */
#ifndef AUTOGRAD_GRAPH_H
#define AUTOGRAD_GRAPH_H

#include "autograd/op_table.h"
#include "autograd/tape.h"
#include "core/device.h"

/* The tensors of a value that a device's kernels see. */
enum { THERE_VALUE, THERE_AGAIN, THERE_GRADIENT, THERE_BARE, THERE_COUNT };

enum { NODES_MAX = 1 << 17, VARS_MAX = 1 << 18, PLACES_DEPTH = 8 };

/* A value with what the plan knows about it. A value that is made again in backward has two
 * instances: the one of forward, and the second one from there on. */
typedef struct slot {
    var           v; /* first member: a var * is its slot */
    const tensor *external;
    tensor       *external_grad; /* parameters */
    const tensor *seed;          /* upstream gradient from outside */
    const tensor **grad_out;     /* where the caller wants to see the gradient */
    bool          kept;          /* value is read from outside */
    bool          wide;          /* f32 where activations are bf16 */
    bool          reached;       /* some upstream gradient arrives */
    bool          born;          /* planning: its gradient has been written before */
    tensor        again;         /* second instance */
    tensor        grad;
    tensor        bare; /* shape and rows without memory, for values backward must not read */
    int           store[2], grad_store; /* -1: none */
    tensor        there[THERE_COUNT];   /* on a device */
} slot;

typedef struct node {
    op_code     op;
    int         n_in, n_out;
    slot       *in[OP_IN_MAX], *out[OP_OUT_MAX];
    op_attr     attr;
    int64_t     n_aux;
    const char *place;
    int         block; /* recompute block, -1: none */
    bool        of_weights; /* tape_weight_begin: its values are made again in backward */
    bool        live;  /* somebody needs its outputs */
    bool        backward;
    bool        again; /* planning: its forward was scheduled a second time before this point */
    int         aux_store[2];
} node;

/* A stretch of step memory with the time it is needed. Stores that share memory point to one root. */
typedef struct store {
    size_t bytes, offset;
    int    birth, death; /* schedule indices, inclusive */
    int    root;         /* itself, or the store whose memory it uses */
} store;

typedef enum call_phase { PHASE_FORWARD, PHASE_AGAIN, PHASE_BACKWARD } call_phase;

/* One kernel call of a run. */
typedef struct entry {
    node   *n;
    call_phase phase;
    op_args args;
    int     aux_store;
    tensor *zero[OP_IN_MAX]; /* gradients that are written for the first time here */
    int     n_zero;
} entry;

struct tape {
    arena               memory; /* of the tape itself */
    dtype               real;
    const op_functions *functions;
    slot               *slots;
    node               *nodes;
    int                 n_slots, n_nodes;
    slot               *dead; /* stands for every result after a failure */
    status              error;
    char                error_text[1024];
    char                place[256];
    size_t              place_marks[PLACES_DEPTH];
    int                 n_places;
    const char         *place_copy; /* of `place` as it is now, or NULL */
    int                 block, n_blocks;
    bool                of_weights;
    slot               *loss;
    store              *stores;
    int                 n_stores, stores_max;
    entry              *entries;
    int                 n_entries, n_forward; /* entries [0, n_forward) are the forward run */
    size_t              step_bytes, kept_bytes;
    op_run              run;
    tape_observer       observer;
    void               *observer_context;
    struct on_device   *far; /* NULL: the CPU */
};

/* run.c: where store `at` lies in memory that begins at base, NULL for none; the leading rows in use, in bytes;
 * one call, which the observer is told of. */
void  *store_memory(const tape *t, uint8_t *base, int at);
size_t bytes_in_use(const tensor *x);
void   run_entry(tape *t, const entry *e);

/* on_device.c: the tape's life on a device. */
status far_open(tape *t, device *d);
void   far_close(tape *t);
dtype  far_type(const tape *t, const slot *s); /* of a value there */
status far_bind(tape *t, arena *step);
void   far_forward(tape *t);
void   far_backward(tape *t);
size_t far_host_bytes(const tape *t); /* that far_bind takes from the arena */
size_t far_bytes(const tape *t);      /* on the device */
size_t far_measure(tape *t);          /* scratch of its operations there */
/* For tape_find_nonfinite: runs one call; a value that it saw or made, as f32 or f64 in host memory that is
 * kept until the next call. */
void        far_run(tape *t, const entry *e);
const void *far_look(tape *t, const tensor *x);

/* place.c: gives every root store an offset so that stores alive at the same time do not overlap;
 * returns the bytes needed in all. */
size_t place_stores(arena *scratch, store *stores, int n);

#endif
