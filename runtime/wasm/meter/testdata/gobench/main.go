package main

import "slices"

const N = 10000

var (
	duration, wait, gpus, priority, rank [N]int64
	user                                 [N]uint32
	key                                  [N]float64
	seed                                 uint64 = 1
)

func next() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 20 }

//go:wasmexport fill
func fill() {
	for i := range duration {
		duration[i] = int64(next()%100) - 5
		wait[i], gpus[i], priority[i], user[i] = int64(next()%1000000), int64(next()%64), int64(next()%10), uint32(next()%1000)
	}
}

//go:wasmexport aged
func aged(n uint32) uint64 {
	d, w, k := duration[:n], wait[:n], key[:n]
	for i := range d {
		v := d[i]
		if v < 0 {
			v = 3600000
		}
		k[i] = float64(v) - float64(0.5*float64(w[i]))
	}
	return uint64(int64(k[n-1]))
}

//go:wasmexport mixed
func mixed(n uint32) uint64 {
	sum := uint64(0)
	for i := range n {
		k := priority[i] << 40
		for w := wait[i]; w > 1000; w >>= 2 {
			k += 1 << 20
		}
		if gpus[i] > 8 {
			k -= gpus[i] * 977
		} else {
			k += int64(user[i])
		}
		rank[i] = k
		sum += uint64(k)
	}
	return sum
}

//go:noinline
func price(p, g, w int64) int64 {
	if g > 8 {
		return p * w / (g + 1)
	}
	return p*g + w
}

//go:wasmexport calls
func calls(n uint32) uint64 {
	sum := uint64(0)
	for i := range n {
		rank[i] = price(priority[i], gpus[i], wait[i])
		sum += uint64(rank[i])
	}
	return sum
}

//go:wasmexport sorted
func sorted(n uint32) uint64 {
	for i := range n {
		rank[i] = wait[i] * 7919 % 65537
	}
	slices.Sort(rank[:n])
	return uint64(rank[n/2])
}

func main() {}
