// SPDX-License-Identifier: MIT
//
// Os - a buffered channel between two goroutines on two processors, for comparison with the row "threads" of os.c
//
//	os-go SLICE_MS     a round for each line of standard input
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

const room = 2048 // as many as are under way at most between two of our threads

func items(n int) {
	c := make(chan uint64, room)
	go func() {
		for i := 0; i < n; i++ {
			c <- uint64(i)
		}
	}()
	for i := 0; i < n; i++ {
		if <-c != uint64(i) {
			panic("an item is missing")
		}
	}
}

func main() {
	runtime.GOMAXPROCS(2)
	slice, err := 0, error(nil)
	if len(os.Args) == 2 {
		slice, err = strconv.Atoi(os.Args[1])
	}
	if slice < 1 || err != nil {
		fmt.Fprintln(os.Stderr, "usage: os-go SLICE_MS")
		os.Exit(2)
	}
	lines, n := bufio.NewScanner(os.Stdin), 100000
	for lines.Scan() {
		start := time.Now()
		items(n)
		ns := float64(time.Since(start).Nanoseconds()) / float64(n)
		fmt.Printf("{\"row\": \"threads\", \"ns\": %.3f}\n{\"row\": null}\n", ns)
		n = int(float64(slice)*1e6/ns) + 1
	}
}
