/* Sorts 4096 numbers, n times. */
#include "kernel.h"

enum { COUNT = 4096, SHORT = 12 };

static int32_t values[COUNT];

static void insertion(int32_t *v, int low, int high) {
    for (int i = low + 1; i <= high; i++) {
        int32_t value = v[i];
        int j = i - 1;
        for (; j >= low && v[j] > value; j--) v[j + 1] = v[j];
        v[j + 1] = value;
    }
}

static void swap(int32_t *a, int32_t *b) {
    int32_t old = *a;
    *a = *b;
    *b = old;
}

static void sort(int32_t *v, int low, int high) {
    while (high - low > SHORT) {
        int middle = low + (high - low) / 2;
        if (v[middle] < v[low]) swap(&v[middle], &v[low]);
        if (v[high] < v[low]) swap(&v[high], &v[low]);
        if (v[high] < v[middle]) swap(&v[high], &v[middle]);
        int32_t pivot = v[middle];
        int i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i <= j) swap(&v[i++], &v[j--]);
        }
        sort(v, low, j);
        low = i;
    }
    insertion(v, low, high);
}

int32_t run(int32_t n) {
    uint32_t seed = 1, sum = 0;
    for (int32_t round = 0; round < n; round++) {
        for (int i = 0; i < COUNT; i++) values[i] = (int32_t)next_random(&seed);
        sort(values, 0, COUNT - 1);
        for (int i = 0; i < COUNT; i += 64) sum = sum * 31 + (uint32_t)values[i];
    }
    return (int32_t)sum;
}
