package mirror

// Knocked says whether a flush was asked for since the last time, and takes the request
// back.
func (m *Mirror) Knocked() bool {
	select {
	case <-m.knock:
		return true
	default:
		return false
	}
}
