package race

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

const rerunEnv = "RXRING_RACE_IN_USER_NAMESPACE"

// Rerun runs this program's command line once more in a user namespace of its
// own, where it may have a network namespace, and returns its exit code. The
// error is why there was no child; it is cause when this is that child.
func Rerun(ctx context.Context, cause error) (code int, err error) {
	if os.Getenv(rerunEnv) != "" {
		return 0, cause
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), rerunEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		if refused := new(NamespaceError); errors.As(cause, &refused) {
			cause = refused.Err
		}
		return 0, &NamespaceError{fmt.Errorf("%w; in a user namespace: %w", cause, err), namespaceHint()}
	}
	err = cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil
	}
	if cmd.ProcessState.Success() {
		return 0, nil
	}
	return 0, err
}
