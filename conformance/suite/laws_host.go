package suite

func hostLaws() []Law { return nil }
