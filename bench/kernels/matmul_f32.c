#define REAL float
#include "matmul.h"
