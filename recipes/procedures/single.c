/* single: one phase, the recipe as it stands */
#include "recipes/procedure.h"

const procedure procedure_single = {
    .name = "single",
    .help = "One phase: all modules are trained together until the stop.",
};
