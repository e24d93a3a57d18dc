package testcluster

import (
	"github.com/musterhq/muster/runtime/kube/testcluster/process"
)

// Status is how a component is.
type Status struct {
	Component string        `json:"component"`
	State     process.State `json:"state"`
	PID       int           `json:"pid,omitempty"` // 0 when gone
	Port      int           `json:"port,omitempty"`
	RSS       int64         `json:"rss"` // bytes
	Log       string        `json:"log"`
}

// Status looks at each component of the cluster.
func (c *Cluster) Status() []Status {
	var all []Status
	for _, name := range c.Components() {
		id := c.process(name)
		s := Status{Component: name, State: id.State(), Port: c.Ports[name], RSS: id.RSS(), Log: c.Log(name)}
		if s.State != process.Gone {
			s.PID = id.PID
		}
		all = append(all, s)
	}
	return all
}
