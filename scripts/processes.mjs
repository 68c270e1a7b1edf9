// Starts processes for scripts that act like a person at a terminal. Each process has its own process group, so that
// its child processes end with it. From this shell's environment it gets only the variables that locate programs and
// the registry.
import { spawn } from 'node:child_process'

/** Maximum duration of a command, and maximum wait for the output or the end of a command that keeps running. */
const COMMAND_MS = 300_000

const kept =
  /^(PATH|HOME|LANG|TMPDIR|CI|PORT|OPS_PORT|ASTERISK_ROOT|NODE_EXTRA_CA_CERTS|SSL_CERT_\w+|\w+_proxy|npm_config_(cache|registry|\w*proxy))$/i
const shell = Object.fromEntries(Object.entries(process.env).filter(([name]) => kept.test(name)))

const startedMs = performance.now()
const running = new Set()

export const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`
export const elapsed = () => seconds(performance.now() - startedMs)

function start(cwd, line, env = {}) {
  const child = spawn('bash', ['-c', line], {
    cwd,
    env: { ...shell, ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const one = { line, output: '', closed: false, onOutput: () => undefined }
  running.add(child)
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      one.output += chunk.toString()
      one.onOutput()
    })
  one.code = new Promise((done) => {
    child.once('close', (code, signal) => {
      running.delete(child)
      one.closed = true
      one.onOutput()
      done(code ?? signal)
    })
  })
  one.signal = (signal) => end(child, signal)
  return one
}

function end(child, signal) {
  try {
    process.kill(-child.pid, signal)
  } catch {
    // The process has already ended.
  }
}

export function failed(what, output) {
  return new Error(`${what}\n--- its output:\n${output}\n---`)
}

/**
 * Runs a command to its end. @returns its output @throws Error if the exit code is not in `codes`, or the output is not
 * as expected
 */
export async function run(cwd, line, { env, codes = [0], expected = /(?:)/, onOutput = () => undefined } = {}) {
  const beganMs = performance.now()
  const one = start(cwd, line, env)
  one.onOutput = () => onOutput(one.output)
  const timer = setTimeout(() => one.signal('SIGKILL'), COMMAND_MS)
  const code = await one.code
  clearTimeout(timer)
  if (!codes.includes(code)) throw failed(`${line}: ended with ${code}`, one.output)
  if (!expected.test(one.output)) throw failed(`${line}: did not print ${expected}`, one.output)
  console.log(`${elapsed().padStart(8)}  ${seconds(performance.now() - beganMs).padStart(7)}  ${line}`)
  return one.output
}

/** Starts a command that keeps running, and waits until its output matches `expected`. */
export async function stays(cwd, line, expected, env) {
  const one = start(cwd, line, env)
  await new Promise((done, fail) => {
    const timer = setTimeout(() => fail(failed(`${line}: has not printed ${expected}`, one.output)), COMMAND_MS)
    one.onOutput = () => {
      if (!expected.test(one.output) && !one.closed) return
      clearTimeout(timer)
      if (expected.test(one.output)) done()
      else fail(failed(`${line}: ended before it printed ${expected}`, one.output))
    }
  })
  return one
}

/** Sends a signal to a command that keeps running, and waits for the command's end. */
export async function stop(one, signal) {
  one.signal(signal)
  const timer = setTimeout(() => one.signal('SIGKILL'), COMMAND_MS)
  const code = await one.code
  clearTimeout(timer)
  if (code === 'SIGKILL') throw failed(`${one.line}: does not end after ${signal}`, one.output)
}

/** Kills all running commands. */
export function killAll() {
  for (const child of running) end(child, 'SIGKILL')
}
