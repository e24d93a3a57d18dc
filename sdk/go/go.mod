module github.com/musterhq/muster/sdk/go

go 1.26.0
