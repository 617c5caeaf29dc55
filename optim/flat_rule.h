/* flat_rule: what clipping does to one value and how it adds; see optim/rule.h */
#ifndef OPTIM_FLAT_RULE_H
#define OPTIM_FLAT_RULE_H

#include "optim/rule.h"

enum { SQUARE_LANES = 8 }; /* a piece's sum of squares: value i is added in lane i % 8 */

/* x cut to [-limit, limit]; NaN stays */
OPTIM_RULE float flat_cut(float x, float limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}

OPTIM_RULE double flat_square(double scale, float g)
{
    const double x = scale * (double)g;

    return x * x;
}

/* The larger one; NaN when one is. */
OPTIM_RULE double flat_larger(double most, double x)
{
    return !(x <= most) && most == most ? x : most;
}

#endif
