package process

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// heartbeat is how often a follower looks whether the one it follows still lives. It
// looks instead of asking the kernel for a signal, as the parent of a component is
// gone by design, and the one to follow is no relative.
const heartbeat = 250 * time.Millisecond

// Follow calls end when the process is gone.
func Follow(ctx context.Context, id ID, end func()) {
	err := wait.PollUntilContextCancel(ctx, heartbeat, true, func(context.Context) (bool, error) {
		return id.State() == Gone, nil
	})
	if err == nil {
		end()
	}
}
