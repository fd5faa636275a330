package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// runNode is a NATS server of the cluster, until its standard input closes.
// What it acknowledges is on disk.
func runNode(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet(subNode, flag.ContinueOnError)
	name := flags.String("name", "", "name of the server")
	dir := flags.String("dir", "", "directory of the streams")
	log := flags.String("log", "", "file of the log")
	port := flags.Int("port", 0, "port for clients")
	routes := flags.String("routes", "", "ports of the cluster, the own one first")
	if err := flags.Parse(args); err != nil {
		return err
	}
	options := &server.Options{
		ServerName: *name, Host: "127.0.0.1", Port: *port, JetStream: true, StoreDir: *dir, SyncAlways: true,
		NoSigs: true, LogFile: *log, Logtime: true,
	}
	options.Cluster.Name, options.Cluster.Host = "chaos", "127.0.0.1"
	options.Cluster.NoAdvertise = true // clients have to stay on their links
	for i, text := range strings.Split(*routes, ",") {
		route, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if i == 0 {
			options.Cluster.Port = route
		}
		options.Routes = append(options.Routes, server.RoutesFromStr("nats://127.0.0.1:"+text)...)
	}
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(20 * time.Second) {
		return errors.New("the server does not start")
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// The manager of the emulated portal.
const (
	portalUser     = "keeper"
	portalPassword = "chaos-password"
)

// runPortal is the emulated portal, until its standard input closes.
func runPortal(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet(subPortal, flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of the state")
	events := flags.Int("events", 1_000_000, "how many changes are remembered")
	if err := flags.Parse(args); err != nil {
		return err
	}
	portal, err := emulator.New(emulator.Config{
		Dir: *dir, Users: map[string]string{portalUser: portalPassword}, MinLifetime: time.Second, MaxEvents: *events,
	})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, portal.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, in); cancel() }()
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		cancel()
	}
	return portal.Run(ctx, listener)
}
