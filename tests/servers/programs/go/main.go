// SPDX-License-Identifier: BSD-2-Clause

// go ADDRESS: a server that counts its connections. With LISTEN_FDS in the environment its listening
// socket is descriptor 3.
//
//	TERM	close the listener; wait until the counter is zero; exit.
//	USR2	start a successor with the listener as its descriptor 3; then as on TERM.
//
// The socket is the same in both: what waits in its queue is the successor's. Nobody looks whether
// there is one.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

const tick = 10 * time.Millisecond

var connections atomic.Int64

func takeListener(address string) (*net.TCPListener, error) {
	var listener net.Listener
	var err error

	if os.Getenv("LISTEN_FDS") != "" {
		file := os.NewFile(3, "listener")
		listener, err = net.FileListener(file)
		file.Close()
	} else {
		listener, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// Not by os/exec: that makes the descriptor, and so the listener of both, a blocking one.
func startSuccessor(listener *net.TCPListener) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	path, err := os.Executable()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		_, failed = syscall.ForkExec(path, os.Args, &syscall.ProcAttr{
			Env:   append(os.Environ(), "LISTEN_FDS=1"),
			Files: []uintptr{0, 1, 2, fd},
		})
	})
	if err != nil {
		return err
	}
	return failed
}

func count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		connections.Add(-1)
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	if r.URL.Path == "/healthz" {
		fmt.Fprintln(w, "ok")
	} else {
		fmt.Fprintln(w, "pid", os.Getpid())
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: go ADDRESS:PORT")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR2)
	listener, err := takeListener(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := http.Server{Handler: http.HandlerFunc(answer), ConnState: count}
	over := make(chan error)
	go func() { over <- server.Serve(listener) }()
	fmt.Fprintln(os.Stderr, "pid", os.Getpid(), "listens")

	if <-signals == syscall.SIGUSR2 {
		if err := startSuccessor(listener); err != nil {
			log.Print(err)
		}
	}
	listener.Close()
	<-over
	server.SetKeepAlivesEnabled(false)
	for connections.Load() > 0 {
		time.Sleep(tick)
	}
}
