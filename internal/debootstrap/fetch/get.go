package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Validators identify a version of a document, for a request that is answered only if it changed.
type Validators struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

// Document is a small file.
type Document struct {
	Body        []byte
	Validators  Validators
	NotModified bool // Body is empty: what the validators of the request stand for is still so
}

// Read returns a file of at most limit bytes. If have is not empty, it asks for the file only if it
// has changed.
func (c *Client) Read(ctx context.Context, r Request, limit int64, have Validators) (doc Document, err error) {
	if path, ok := strings.CutPrefix(r.URL, "file:"); ok {
		var b bytes.Buffer
		err := copyFile(path, 0, limit, false, &b)
		if err != nil {
			return doc, fail(r.URL, err)
		}
		return Document{Body: b.Bytes()}, nil
	}
	err = c.attempts(ctx, r, func(ctx context.Context) error {
		doc, err = c.read(ctx, r, limit, have)
		return err
	})
	return doc, err
}

func (c *Client) read(ctx context.Context, r Request, limit int64, have Validators) (doc Document, err error) {
	t, err := c.do(ctx, r, func(q *http.Request) {
		if have.ETag != "" {
			q.Header.Set("If-None-Match", have.ETag)
		}
		if have.LastModified != "" {
			q.Header.Set("If-Modified-Since", have.LastModified)
		}
		if !r.Fresh {
			q.Header.Set("Cache-Control", "max-age=0")
		}
	})
	if err != nil {
		return doc, err
	}
	defer t.close()
	switch {
	case t.StatusCode == http.StatusNotModified && have != Validators{}:
		return Document{NotModified: true, Validators: have}, nil
	case t.StatusCode != http.StatusOK:
		t.discard()
		return doc, statusError(t.Response)
	case t.ContentLength > limit:
		return doc, fmt.Errorf("%w: %d bytes, more than %d", ErrSize, t.ContentLength, limit)
	}
	var b bytes.Buffer
	if t.ContentLength > 0 {
		b.Grow(int(t.ContentLength))
	}
	if _, err := t.copy(&b, limit); err != nil {
		return doc, err
	}
	v := Validators{ETag: clean(t.Header.Get("ETag")), LastModified: clean(t.Header.Get("Last-Modified"))}
	return Document{Body: b.Bytes(), Validators: v}, nil
}

// clean keeps a validator that can be sent back and stored.
func clean(s string) string {
	if len(s) > 256 {
		return ""
	}
	return s
}

// Sink takes a file. What it holds already is not fetched again.
type Sink interface {
	io.Writer
	Offset() int64 // bytes held
	Reset() error  // empties it
}

// Write fetches a file of exactly size bytes into dst, from dst's offset on.
func (c *Client) Write(ctx context.Context, r Request, size int64, dst Sink) error {
	if dst.Offset() > size {
		if err := dst.Reset(); err != nil {
			return err
		}
	}
	if dst.Offset() == size {
		return nil
	}
	if path, ok := strings.CutPrefix(r.URL, "file:"); ok {
		if err := copyFile(path, dst.Offset(), size, true, dst); err != nil {
			return fail(r.URL, err)
		}
		return nil
	}
	var etag string
	return c.attempts(ctx, r, func(ctx context.Context) error { return c.write(ctx, r, size, dst, &etag) })
}

// write makes one attempt. etag is the one of the answers so far: parts of different files are not
// put together.
func (c *Client) write(ctx context.Context, r Request, size int64, dst Sink, etag *string) error {
	t, err := c.do(ctx, r, func(q *http.Request) {
		if n := dst.Offset(); n > 0 {
			q.Header.Set("Range", "bytes="+strconv.FormatInt(n, 10)+"-")
			if *etag != "" {
				q.Header.Set("If-Range", *etag)
			}
		}
	})
	if err != nil {
		return err
	}
	defer t.close()
	want := size
	switch t.StatusCode {
	case http.StatusOK:
		if err := dst.Reset(); err != nil {
			return err
		}
	case http.StatusPartialContent:
		want -= dst.Offset()
		if err := checkRange(t.Header.Get("Content-Range"), dst.Offset(), size); err != nil {
			return again(dst, err)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		t.discard()
		return again(dst, fmt.Errorf("%w: shorter than %d bytes", ErrSize, dst.Offset()))
	default:
		t.discard()
		return statusError(t.Response)
	}
	if t.ContentLength >= 0 && t.ContentLength != want {
		return again(dst, fmt.Errorf("%w: %d bytes to come, want %d", ErrSize, t.ContentLength, want))
	}
	if *etag = clean(t.Header.Get("ETag")); strings.HasPrefix(*etag, "W/") {
		*etag = "" // a weak one does not promise equal bytes
	}
	n, err := t.copy(dst, want)
	if err == nil && n != want {
		err = fmt.Errorf("%w: %d bytes, want %d", ErrSize, n, want)
	}
	return err
}

// again lets a failed continuation be followed by an attempt from the beginning.
func again(dst Sink, err error) error {
	if dst.Offset() == 0 {
		return err
	}
	if err := dst.Reset(); err != nil {
		return err
	}
	return netError{err}
}

// checkRange compares "bytes FIRST-LAST/SIZE" with what was asked for.
func checkRange(header string, first, size int64) error {
	for _, total := range []string{strconv.FormatInt(size, 10), "*"} {
		if header == fmt.Sprintf("bytes %d-%d/%s", first, size-1, total) {
			return nil
		}
	}
	return errors.New("server answers with another range")
}
