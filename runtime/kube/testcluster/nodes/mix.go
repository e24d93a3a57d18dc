// Package nodes describes and makes the nodes of a test cluster: GPU machines of a
// few products, spread over racks and zones, that exist in the API only. Nothing
// runs on them but what kwok plays.
package nodes

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Share is one product of a mix.
type Share struct {
	Product string
	// Weight is its part of the nodes, relative to the other weights, and its number
	// of nodes where no total is given.
	Weight int
}

// maxNodes is a typing mistake: a test cluster of 5,000 nodes is already slow.
const maxNodes = 100_000

// DefaultMix is what a cluster is made of if nobody says otherwise.
const DefaultMix = "H100=60,A100=30,L40S=10"

// ParseMix reads a mix like "H100=60,A100=30,CPU=10".
func ParseMix(text string) ([]Share, error) {
	var mix []Share
	for part := range strings.SplitSeq(text, ",") {
		product, count, ok := strings.Cut(strings.TrimSpace(part), "=")
		weight, err := strconv.Atoi(count)
		if !ok || err != nil || weight < 0 || weight > maxNodes {
			return nil, fmt.Errorf("products %q: %q is not like H100=60, a product and its part of the nodes", text, part)
		}
		if _, err := shapeOf(product); err != nil {
			return nil, fmt.Errorf("products %q: %w", text, err)
		}
		if slices.ContainsFunc(mix, func(s Share) bool { return s.Product == product }) {
			return nil, fmt.Errorf("products %q: %s is there twice", text, product)
		}
		mix = append(mix, Share{product, weight})
	}
	if !slices.ContainsFunc(mix, func(s Share) bool { return s.Weight > 0 }) {
		return nil, fmt.Errorf("products %q: no product has a part of the nodes", text)
	}
	return mix, nil
}

// Apportion shares out a number of nodes by the weights of a mix, by largest
// remainder: no product is off its exact part by a whole node, and the sum is exact.
// A total of 0 takes the weights as numbers of nodes. One of them is above 0.
func Apportion(total int, mix []Share) []Group {
	sum := 0
	for _, s := range mix {
		sum += s.Weight
	}
	if total == 0 {
		total = sum
	}
	groups := make([]Group, len(mix))
	order := make([]int, len(mix))
	left := total
	for i, s := range mix {
		order[i] = i
		groups[i] = Group{Product: s.Product, Count: total * s.Weight / sum}
		left -= groups[i].Count
	}
	remainder := func(i int) int { return total * mix[i].Weight % sum }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainder(b), remainder(a)) })
	for _, i := range order[:left] {
		groups[i].Count++
	}
	return slices.DeleteFunc(groups, func(g Group) bool { return g.Count == 0 })
}
