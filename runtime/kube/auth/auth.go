// Package auth asks the API server who somebody is (TokenReview) and what they may read
// (SubjectAccessReview), and remembers the answers for a short while: whoever may read
// the scheduler is said by RBAC, with nonResourceURLs such as /api/* and /metrics.
package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/clock"
)

// How long answers are remembered. Who loses a right keeps it for a minute at most, as
// with the kubelet's own cache; who gains one waits for seconds.
const (
	keepYes = int64(time.Minute)
	keepNo  = int64(5 * time.Second)
	// maxKept bounds the memory, and with it what somebody can do by sending many
	// tokens: then nothing is remembered.
	maxKept = 4096
)

// Options of an Authorizer.
type Options struct {
	// Audiences a token must be for; empty is the API server's own.
	Audiences []string
	// Clock is when answers are forgotten by; nil is the machine's.
	Clock clock.Clock
}

// Authorizer decides who may read what. It may be used from any goroutine.
type Authorizer struct {
	api kubernetes.Interface
	o   Options

	mu    sync.Mutex
	users map[[32]byte]known[authenticationv1.UserInfo] // by the token's hash
	may   map[question]known[authorizationv1.SubjectAccessReviewStatus]
}

// known is an answer that is remembered until a time.
type known[T any] struct {
	value T
	until int64
}

type question struct {
	token      [32]byte
	verb, path string
}

// New returns an authorizer. Its ServiceAccount needs to create tokenreviews and
// subjectaccessreviews, as in ClusterRole system:auth-delegator.
func New(api kubernetes.Interface, o Options) *Authorizer {
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	a := &Authorizer{api: api, o: o}
	a.users, a.may = map[[32]byte]known[authenticationv1.UserInfo]{}, map[question]known[authorizationv1.SubjectAccessReviewStatus]{}
	return a
}

// Authorize says whose a token is, "" if nobody's, and whether that user may do the verb
// at a path, else why not. An error says that the API server could not be asked.
func (a *Authorizer) Authorize(ctx context.Context, token, verb, path string) (user string, allowed bool, why string, err error) {
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", false, "no token", nil
	}
	key := sha256.Sum256([]byte(token))
	info, err := a.whose(ctx, key, token)
	if err != nil || info.Username == "" {
		return "", false, "the token is nobody's", err
	}
	status, err := a.mayRead(ctx, question{key, verb, path}, info)
	if err != nil {
		return info.Username, false, "", err
	}
	return info.Username, status.Allowed && !status.Denied, status.Reason, nil
}

// whose asks whose token it is; the name is "" if it is nobody's.
func (a *Authorizer) whose(ctx context.Context, key [32]byte, token string) (authenticationv1.UserInfo, error) {
	if u, ok := remembered(a, a.users, key); ok {
		return u, nil
	}
	r, err := a.api.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: a.o.Audiences},
	}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, fmt.Errorf("review of the token: %w", err)
	}
	u := authenticationv1.UserInfo{}
	if r.Status.Authenticated && a.meant(r.Status.Audiences) {
		u = r.Status.User
	}
	remember(a, a.users, key, u, u.Username != "")
	return u, nil
}

// meant says whether a token is for one of the audiences. An API server that knows no
// audiences returns none, and has not checked them.
func (a *Authorizer) meant(audiences []string) bool {
	return len(a.o.Audiences) == 0 || slices.ContainsFunc(audiences, func(s string) bool { return slices.Contains(a.o.Audiences, s) })
}

func (a *Authorizer) mayRead(ctx context.Context, q question, u authenticationv1.UserInfo) (authorizationv1.SubjectAccessReviewStatus, error) {
	if s, ok := remembered(a, a.may, q); ok {
		return s, nil
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range u.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	r, err := a.api.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: u.Username, UID: u.UID, Groups: u.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: q.verb, Path: q.path},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return authorizationv1.SubjectAccessReviewStatus{}, fmt.Errorf("review of access: %w", err)
	}
	remember(a, a.may, q, r.Status, r.Status.Allowed)
	return r.Status, nil
}

func remembered[K comparable, T any](a *Authorizer, in map[K]known[T], key K) (v T, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := in[key]
	return k.value, ok && a.o.Clock.Now() < k.until
}

// remember keeps an answer. What is over is dropped when there is no room.
func remember[K comparable, T any](a *Authorizer, in map[K]known[T], key K, v T, yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, keep := a.o.Clock.Now(), keepNo
	if yes {
		keep = keepYes
	}
	if len(in) >= maxKept {
		for k, v := range in {
			if v.until <= now {
				delete(in, k)
			}
		}
	}
	if len(in) < maxKept {
		in[key] = known[T]{v, now + keep}
	}
}
