// Processes for scripts that do what a person does at a terminal: each in a group of its own, so that what it starts ends
// with it, and with nothing of this shell's environment but what finds programs and the registry.
import { spawn } from 'node:child_process'

/** Longest command, and longest wait for a line of one that stays or for its end. */
const COMMAND_MS = 300_000

const kept =
  /^(PATH|HOME|LANG|TMPDIR|CI|PORT|OPS_PORT|NODE_EXTRA_CA_CERTS|SSL_CERT_\w+|\w+_proxy|npm_config_(cache|registry|\w*proxy))$/i
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
    // It has ended.
  }
}

export function failed(what, output) {
  return new Error(`${what}\n--- its output:\n${output}\n---`)
}

/** Runs a command to its end; fails if that is not one of `codes`. Gives what it printed. */
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

/** Starts a command that stays, and waits until it has printed that. */
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

/** Sends a command that stays a signal, and waits for its end. */
export async function stop(one, signal) {
  one.signal(signal)
  const timer = setTimeout(() => one.signal('SIGKILL'), COMMAND_MS)
  const code = await one.code
  clearTimeout(timer)
  if (code === 'SIGKILL') throw failed(`${one.line}: does not end after ${signal}`, one.output)
}

/** Kills everything that still runs. */
export function killAll() {
  for (const child of running) end(child, 'SIGKILL')
}
