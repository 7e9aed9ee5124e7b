// SPDX-License-Identifier: MIT
//
// Hub - the rows of hub.c in Go, on one processor, for comparison
//
//	hub-go rows SLICE_MS     a round of all rows for each line of standard input
//	hub-go parked N          N goroutines that wait three calls deep
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

type row struct {
	name string
	run  func(n int)
	n    int
}

func yields(n int) {
	done := make(chan bool)
	go func() {
		for i := 0; i < n/2; i++ {
			runtime.Gosched()
		}
		done <- true
	}()
	for i := 0; i < n/2; i++ {
		runtime.Gosched()
	}
	<-done
}

func spawns(n int) {
	for i := 0; i < n; i++ {
		go func() {}()
		runtime.Gosched()
	}
}

func messages(n, room int) {
	c := make(chan *int, room)
	go func() {
		for i := 0; i < n; i++ {
			c <- nil
		}
	}()
	for i := 0; i < n; i++ {
		<-c
	}
}

func selects2(n int) {
	var c [2]chan *int
	for i := range c {
		c[i] = make(chan *int)
	}
	go func() {
		for i := 0; i < n; i++ {
			c[i%2] <- nil
		}
	}()
	for i := 0; i < n; i++ {
		select {
		case <-c[0]:
		case <-c[1]:
		}
	}
}

func selects16(n int) {
	var c [16]chan *int
	for i := range c {
		c[i] = make(chan *int)
	}
	go func() {
		for i := 0; i < n; i++ {
			c[i%16] <- nil
		}
	}()
	for i := 0; i < n; i++ {
		select {
		case <-c[0]:
		case <-c[1]:
		case <-c[2]:
		case <-c[3]:
		case <-c[4]:
		case <-c[5]:
		case <-c[6]:
		case <-c[7]:
		case <-c[8]:
		case <-c[9]:
		case <-c[10]:
		case <-c[11]:
		case <-c[12]:
		case <-c[13]:
		case <-c[14]:
		case <-c[15]:
		}
	}
}

var seed uint64 = 88172645463325252

func below(n uint64) uint64 {
	seed ^= seed << 13
	seed ^= seed >> 7
	seed ^= seed << 17
	return seed % n
}

// None expires: a program cannot move Go's clock.
func timers(n_armed int) func(n int) {
	var armed []*time.Timer
	set := func() *time.Timer {
		return time.AfterFunc(time.Millisecond+time.Duration(below(uint64(time.Hour))), func() {})
	}
	return func(n int) {
		for len(armed) < n_armed {
			armed = append(armed, set())
		}
		for i := 0; i < n; i++ {
			k := below(uint64(n_armed))
			armed[k].Stop()
			armed[k] = set()
		}
	}
}

var rows = []row{
	{"yield", yields, 0},
	{"spawn", spawns, 0},
	{"pipe", func(n int) { messages(n, 0) }, 0},
	{"select2", selects2, 0},
	{"select16", selects16, 0},
	{"queue64", func(n int) { messages(n, 64) }, 0},
	{"timer10", timers(10), 0},
	{"timer10k", timers(10000), 0},
	{"timer1m", timers(1000000), 0},
}

func timed(r *row, n int) float64 {
	start := time.Now()
	r.run(n)
	return float64(time.Since(start).Nanoseconds())
}

func rounds(lines *bufio.Scanner, slice_ns float64) {
	for lines.Scan() {
		for i := range rows {
			r := &rows[i]
			for n := 1000; r.n == 0; n *= 4 {
				if ns := timed(r, n); ns > slice_ns/8 {
					r.n = int(float64(n)*slice_ns/ns)/16*16 + 16
				}
			}
			fmt.Printf("{\"row\": \"%s\", \"ns\": %.3f}\n", r.name, timed(r, r.n)/float64(r.n))
		}
		fmt.Println("{\"row\": null}")
	}
}

//go:noinline
func wait(calls int, c chan bool) bool {
	if calls > 1 {
		return !wait(calls-1, c)
	}
	return <-c
}

func park(lines *bufio.Scanner, n int) {
	c := make(chan bool)
	fmt.Println("{\"parked\": 0}")
	lines.Scan()
	for i := 0; i < n; i++ {
		go wait(3, c)
	}
	runtime.Gosched()
	fmt.Printf("{\"parked\": %d, \"ns\": 0}\n", n)
	lines.Scan()
}

func main() {
	runtime.GOMAXPROCS(1)
	lines := bufio.NewScanner(os.Stdin)
	n, err := 0, error(nil)
	if len(os.Args) == 3 {
		n, err = strconv.Atoi(os.Args[2])
	}
	switch {
	case n < 1 || err != nil:
		fmt.Fprintln(os.Stderr, "usage: hub-go rows SLICE_MS | parked N")
		os.Exit(2)
	case os.Args[1] == "rows":
		rounds(lines, float64(n)*1e6)
	default:
		park(lines, n)
	}
}
