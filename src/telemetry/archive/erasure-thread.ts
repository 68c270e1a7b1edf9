import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../../core/limits.js'
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../../core/assert.js'
import { useCountry } from '../../sautikit/phone.js'
import { eraseCalls, findCalls } from './erasure.js'
import type { ErasureTask } from './erasure.js'

/** Thread that reads whole archives for `eraseCalls` and `findCalls`. It does one task, answers, and ends. */

assert(parentPort !== null, 'an erasure is a worker thread')
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const { folders, number, callSids, country } = workerData as ErasureTask
useCountry(country)
parentPort.postMessage(number === null ? eraseCalls(folders, callSids) : findCalls(folders, number))
