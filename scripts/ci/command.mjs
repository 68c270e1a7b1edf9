// Runs a command, and ends all of it.
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

/** Time between SIGTERM and SIGKILL for a command that is ended, and time for its last output. */
const KILL_MS = 10_000
const LAST_OUTPUT_MS = 5000
const MINUTE_MS = 60_000
/** Length in characters of the last output that is kept of both streams. */
const LAST_CHARACTERS = 4000
const INTERRUPTS = ['SIGINT', 'SIGTERM', 'SIGHUP']

/**
 * Runs a command in a process group of its own, which ends after `limitMs`.
 * @param options.isPrinted  true: its output is printed as it comes
 * @returns the exit code or the signal, the standard output, `last`: the end of all that it printed, and `end`: why the
 * command was ended; null if it ended itself. Standard error is not in the output, because its parts would tear lines
 */
export async function runOf([program, ...args], { cwd, env, limitMs, isPrinted = true }) {
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let last = ''
  let end = null
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text) => {
      if (stream === child.stdout) output += text
      last = (last + text).slice(-LAST_CHARACTERS)
      if (isPrinted) process.stdout.write(text)
    })
  }
  const closed = new Promise((done) => child.once('close', done))
  const exited = new Promise((done) => {
    child.once('error', (error) => {
      end = error.message
      done(null)
    })
    child.once('exit', (code, signal) => done(code ?? signal))
  })
  // The child does not get the terminal's signals.
  const interrupt = () => {
    signalGroup(child, 'SIGTERM')
    process.exit(1)
  }
  for (const signal of INTERRUPTS) process.on(signal, interrupt)
  const timer =
    limitMs === Infinity
      ? undefined
      : setTimeout(() => {
          end = `ended by the run after ${(limitMs / MINUTE_MS).toFixed(1)} minutes`
          signalGroup(child, 'SIGTERM')
          setTimeout(() => signalGroup(child, 'SIGKILL'), KILL_MS).unref()
        }, limitMs)
  const code = await exited
  clearTimeout(timer)
  for (const signal of INTERRUPTS) process.off(signal, interrupt)
  // A program that the command left running may keep the pipes open.
  await Promise.race([closed, sleep(LAST_OUTPUT_MS, undefined, { ref: false })])
  signalGroup(child, 'SIGKILL')
  child.stdout.destroy()
  child.stderr.destroy()
  return { code, output, last, end }
}

function signalGroup({ pid }, signal) {
  try {
    process.kill(-pid, signal)
  } catch {
    // The group has already ended.
  }
}
