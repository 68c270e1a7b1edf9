import { Webhook } from 'standardwebhooks'
import { GatewayError } from '../core/errors.js'
import { messagesSchema } from '../messages/receivers.js'
import type { Receiver } from '../messages/receivers.js'
import { readYamlFile } from './yaml-file.js'

const MANUAL = 'docs/MESSAGES.md'
const FILE = { setting: 'MESSAGES_FILE', noun: 'a list of receivers', manual: MANUAL, schema: messagesSchema }

/**
 * Reads the receivers of MESSAGES_FILE: YAML or JSON.
 * @param env  has the secrets that the file names
 * @throws GatewayError CONFIG_INVALID that names the file, the line and what is allowed there; never a secret
 */
export function readReceivers(path: string, env: Readonly<Record<string, string | undefined>>): readonly Receiver[] {
  const { receivers } = readYamlFile(path, FILE)
  return receivers.map(({ secrets = [], unsigned: _, ...receiver }) => ({
    ...receiver,
    secrets: secrets.map((name) => {
      const secret = env[name]
      if (secret === undefined || !isSecret(secret))
        throw new GatewayError(
          'CONFIG_INVALID',
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
