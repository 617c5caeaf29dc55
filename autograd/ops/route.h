/* route: what its kernels on the CPU and on the device share, and how experts are kept in balance */
#ifndef AUTOGRAD_OPS_ROUTE_H
#define AUTOGRAD_OPS_ROUTE_H

/* What the sum of the chosen weights is at least: it comes near to this only where biases are far below zero. */
#define ROUTE_LEAST 1e-6

/* The way of an expert's bias: down where it was chosen more often than the mean of the n, whose choices sum to
 * `total`, up where less, else none. */
static
#ifdef __CUDACC__
    __host__ __device__
#endif
    inline int
    balance_way(double total, double n, double count)
{
    return (total > n * count) - (total < n * count);
}

#endif
