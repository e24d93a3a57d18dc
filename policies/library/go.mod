module github.com/musterhq/muster/policies/library

go 1.26.0

require github.com/musterhq/muster/sdk/go v0.0.0

replace github.com/musterhq/muster/sdk/go => ../../sdk/go
