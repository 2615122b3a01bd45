#define REAL double
#include "matmul.h"
