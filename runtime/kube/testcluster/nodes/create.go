package nodes

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// workers is how many nodes are made at a time; more make an API server on two cores
// slower, not faster.
const workers = 16

// Create makes the nodes of the groups. Their numbers go on after those of the nodes
// that are there.
func Create(ctx context.Context, client kubernetes.Interface, groups []Group) (int, error) {
	there, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, fmt.Errorf("listing nodes: %w", err)
	}
	next := taken(there.Items)
	var todo []*corev1.Node
	for _, g := range groups {
		first := next[g.prefix()]
		for i := range g.Count {
			todo = append(todo, g.Node(first+i))
		}
		next[g.prefix()] = first + g.Count
	}
	return len(todo), create(ctx, client, todo)
}

// taken returns for each prefix the first number that no node of it has reached.
func taken(there []corev1.Node) map[string]int {
	next := map[string]int{}
	for _, n := range there {
		dash := strings.LastIndexByte(n.Name, '-')
		if i, err := strconv.Atoi(n.Name[dash+1:]); err == nil && dash > 0 {
			next[n.Name[:dash]] = max(next[n.Name[:dash]], i+1)
		}
	}
	return next
}

// create posts the nodes, several at a time, and stops at the first error.
func create(ctx context.Context, client kubernetes.Interface, todo []*corev1.Node) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan *corev1.Node)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for n := range work {
				if _, err := client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
					cancel(fmt.Errorf("making node %s: %w", n.Name, err))
				}
			}
		})
	}
	for _, n := range todo {
		if ctx.Err() != nil {
			break
		}
		work <- n
	}
	close(work)
	group.Wait()
	return context.Cause(ctx)
}
