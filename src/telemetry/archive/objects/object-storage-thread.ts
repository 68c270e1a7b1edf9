import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../../../core/limits.js'
import { parentPort, workerData } from 'node:worker_threads'
import { assert, assertNever } from '../../../core/assert.js'
import { messageOf } from '../../../core/errors.js'
import type { FromStorage, StorageStart, ToStorage } from './object-storage.js'
import { S3Store } from './s3-store.js'
import { StoredObjects } from './stored-objects.js'

/**
 * Thread of the object storage. Encryption, access to the disk and the SDK must not run on the thread that sends audio.
 */

/** Time in ms for which a process that ends still waits for its uploads. */
const CLOSE_MS = 3000

assert(parentPort !== null, 'the object storage is a worker thread')
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const port = parentPort
const post = (message: FromStorage): void => port.postMessage(message)
const { bucket, everyMs, ...options } = workerData as StorageStart
const objects = new StoredObjects({ ...options, store: new S3Store(bucket), wallClock: Date.now })

try {
  const renewed = objects.renewKeys()
  if (renewed > 0) post({ type: 'renewed', keys: renewed })
} catch (thrown) {
  objects.state.fault = messageOf(thrown)
}

const timer = setInterval(() => {
  void objects.pass()
  post({ type: 'state', state: { ...objects.state } })
}, everyMs)

async function answer(message: ToStorage): Promise<unknown> {
  switch (message.what) {
    case 'recording':
      return objects.recording(message.folder, message.callSid, message.names)
    case 'document':
      return objects.document(message.kind, message.callSid)
    case 'erase':
      return objects.erase(message.callSids)
    case 'close':
      clearInterval(timer)
      return objects.close(CLOSE_MS)
    default:
      return assertNever(message)
  }
}

port.on('message', (message: ToStorage) => {
  answer(message)
    .then(
      (value) => post({ type: 'answer', id: message.id, value }),
      (thrown: unknown) => post({ type: 'fault', id: message.id, message: messageOf(thrown) }),
    )
    .finally(() => {
      if (message.what === 'close') port.close()
    })
})
