import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../../core/limits.js'
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../../core/assert.js'
import { useCountry } from '../../sautikit/phone.js'
import { eraseCalls, findCalls } from './erasure.js'
import type { ErasureTask } from './erasure.js'

/** Reads whole archives for `eraseCalls` and `findCalls`: one task, one answer, and the thread ends. */

assert(parentPort !== null, 'an erasure is a worker thread')
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const { folders, number, callSids, country } = workerData as ErasureTask
useCountry(country)
parentPort.postMessage(number === null ? eraseCalls(folders, callSids) : findCalls(folders, number))
