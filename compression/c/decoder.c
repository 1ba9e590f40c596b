/* The library that Python loads, and the smallest program that has the decoder in it. */
#define BB_IMPLEMENTATION
#include "bitsback.h"
