/* Sleeps for its argument's seconds; longer than anybody waits without one. */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    sleep(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100000);
    return 0;
}
