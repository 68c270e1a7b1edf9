import { readFileSync } from 'node:fs'
import { Webhook } from 'standardwebhooks'
import { parseYaml } from '../agents/yaml-source.js'
import { GatewayError } from '../core/errors.js'
import { messagesSchema } from '../messages/receivers.js'
import type { Receiver } from '../messages/receivers.js'

const MANUAL = 'docs/MESSAGES.md'
const KIND = { noun: 'a list of receivers', manual: MANUAL }

/**
 * Reads the receivers of MESSAGES_FILE: YAML or JSON.
 * @param env  has the secrets that the file names
 * @throws GatewayError CONFIG_INVALID that names the file, the line and what is allowed there; never a secret
 */
export function readReceivers(path: string, env: Readonly<Record<string, string | undefined>>): readonly Receiver[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (thrown) {
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown'
    throw invalid(`MESSAGES_FILE is '${path}', which cannot be read (${code}); allowed: ${KIND.noun} (${MANUAL})`)
  }
  const source = parseYaml(text, KIND)
  if (!('value' in source)) throw invalid(source.map(({ line, what }) => `${path}:${line} ${what}`).join('\n'))
  const parsed = messagesSchema.safeParse(source.value)
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => {
      const at = [...issue.path, ...(issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [])]
      return `${path}:${source.locate(at, true).line} ${at.join('.')}: ${issue.message} (${MANUAL})`
    })
    throw invalid(faults.join('\n'))
  }
  return parsed.data.receivers.map(({ secrets = [], unsigned: _, ...receiver }) => ({
    ...receiver,
    secrets: secrets.map((name) => {
      const secret = env[name]
      if (secret === undefined || !isSecret(secret))
        throw invalid(
          `${path}: the secret ${name} of the receiver ${receiver.name} is ${secret === undefined ? 'not set' : 'no secret of a webhook'}; ` +
            `allowed: whsec_ and 24 to 64 bytes in base64, in the environment (${MANUAL})`,
        )
      return secret
    }),
  }))
}

function isSecret(secret: string): boolean {
  if (!/^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/.test(secret)) return false
  try {
    return new Webhook(secret) instanceof Webhook
  } catch {
    return false
  }
}

function invalid(message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', message)
}
