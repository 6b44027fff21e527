package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
)

// execs measures joining a running container.
func (b *bench) execs(ctx context.Context) error {
	const name = "bench-exec"
	cmd := exec.CommandContext(ctx, b.rc.Program, "run", "--no-build", "-d", "--json", "--name", name, "bionic", "sleep", "infinity")
	cmd.Env = b.env()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run -d: %w", err)
	}
	defer b.command(b.rc.Program, "rm", "-f", name)(context.WithoutCancel(ctx)) //nolint:errcheck // its folders go with the rest
	var started struct{ PID int }
	if err := json.Unmarshal(out, &started); err != nil || started.PID == 0 {
		return fmt.Errorf("run -d says %q: %v", out, err)
	}
	empty, err := emptyProgram(ctx, b.work)
	if err != nil {
		return err
	}
	joins, err := joiner(ctx, b.work)
	if err != nil {
		return err
	}
	return b.measure(ctx, "exec true in a running container", 20*b.n,
		contender{name: "rootctl exec", do: b.command(b.rc.Program, "exec", name, "true")},
		contender{name: "nsenter -a", do: b.command("nsenter", "-t", strconv.Itoa(started.PID), "-a", "true")},
		contender{name: "Go program that joins and executes, no more", do: b.command(joins, strconv.Itoa(started.PID))},
		contender{name: "rootctl --version", do: b.command(b.rc.Program, "--version")},
		contender{name: "empty Go program", do: b.command(empty)})
}
