package usage

import "time"

// RenewAfter is the age at which a stream of a node is asked to come anew.
func (s *Server) RenewAfter(node string) time.Duration {
	return time.Duration(s.lifeOf(node, 0).renewAt)
}
