package act

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// errStopped says that the actor ends: what it belongs to is neither done nor failed.
var errStopped = errors.New("act: stopped")

// ErrGivenUp is why a pod of a gang was not tried: another one failed for good.
var ErrGivenUp = errors.New("another pod of its gang could not be bound")

// fate is what became of a request.
type fate uint8

const (
	done     fate = iota
	stopped       // by the end of the actor
	gone          // 404
	conflict      // 409: the object has to be read
	busy          // not carried out, the server is overloaded
	away          // not carried out, no server
	unsure        // perhaps carried out; the server is there
	lost          // perhaps carried out; the server may be away
	refused       // not carried out, and never will be
)

func fateOf(err error) fate {
	switch {
	case err == nil:
		return done
	case errors.Is(err, errStopped), errors.Is(err, context.Canceled):
		return stopped
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return fateOfStatus(err, status)
	}
	var dial *net.OpError
	switch {
	case utilnet.IsConnectionRefused(err), errors.As(err, &dial) && dial.Op == "dial":
		return away
	default: // time-outs, resets, an end in the middle of an answer
		return lost
	}
}

func fateOfStatus(err error, status apierrors.APIStatus) fate {
	code := status.Status().Code
	switch {
	case apierrors.IsNotFound(err), apierrors.IsGone(err):
		return gone
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return conflict
	case apierrors.IsTooManyRequests(err):
		return busy
	case apierrors.IsUnauthorized(err):
		return unsure // a token that is being rotated
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "RBAC: ") && strings.Contains(err.Error(), "not found"):
		return unsure // a server that has just started and not read its roles yet
	case apierrors.IsServiceUnavailable(err), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), code == 502, code == 504:
		return lost
	case code >= 500 || code == 0:
		return unsure
	}
	return refused
}

// byBudget says that an eviction was refused because of PodDisruptionBudgets.
func byBudget(err error) bool {
	return apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) ||
		apierrors.IsInternalError(err) && strings.Contains(err.Error(), "PodDisruptionBudget") ||
		fateOf(err) == unsure && strings.Contains(err.Error(), "more than one PodDisruptionBudget")
}

func retryAfter(err error) time.Duration {
	seconds, _ := apierrors.SuggestsClientDelay(err)
	return time.Duration(seconds) * time.Second
}
