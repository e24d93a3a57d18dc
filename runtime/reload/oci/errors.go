package oci

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/musterhq/muster/runtime/reload/reason"
)

// classify sets code, hint and whether trying again makes sense, by what is behind e.
func classify(e *reason.Error) {
	var answer *errcode.ErrorResponse
	var transport *url.Error
	var network net.Error
	switch {
	case errors.Is(e.Err, context.Canceled), errors.Is(e.Err, context.DeadlineExceeded):
		e.Code, e.Again = reason.Cancelled, true
	case errors.As(e.Err, &answer):
		byStatus(e, answer.StatusCode)
	case errors.Is(e.Err, errdef.ErrNotFound):
		byStatus(e, http.StatusNotFound)
	case errors.Is(e.Err, content.ErrMismatchedDigest), errors.Is(e.Err, content.ErrTrailingData), errors.Is(e.Err, content.ErrInvalidDescriptorSize):
		e.Code, e.Hint = reason.DigestDiffers, "the content is not what its digest says; ask who runs the registry"
	case errors.Is(e.Err, errdef.ErrSizeExceedsLimit), errors.Is(e.Err, errdef.ErrTooManyPages):
		e.Code, e.Hint = reason.TooLarge, "no policy needs that much"
	case errors.As(e.Err, &transport), errors.As(e.Err, &network):
		e.Code, e.Hint, e.Again = reason.Unreachable, "what runs goes on; it is tried again", true
	default:
		e.Code, e.Again = reason.RegistryError, true
	}
}

func byStatus(e *reason.Error, status int) {
	switch status {
	case http.StatusNotFound:
		e.Code, e.Again, e.Hint = reason.NotFound, true, "push it, or correct the tag"
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Code, e.Hint = reason.Unauthorized, "docker login, or ask for the right to pull"
	default:
		e.Code, e.Again, e.Hint = reason.RegistryError, true, "what runs goes on; it is tried again"
	}
}
