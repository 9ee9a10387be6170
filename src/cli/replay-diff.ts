/** The same recording in another version of this package, and where the two come to something else. */
import { existsSync, readFileSync, realpathSync } from 'fs'
import { join, resolve } from 'path'

import { errorInfo } from '../core/errors'
import { isPlainObject } from '../core/options'
import { own } from '../core/own'
import { type ReplayStep, replaySteps } from '../core/replay'
import { CliError } from './cli'
import { EXIT } from './settings'

const NAME = 'sbot-connection-manager'

export interface Other {
  readonly folder: string
  readonly version: string
  readonly replaySteps: (recording: Iterable<unknown>) => Iterable<ReplayStep>
}

/** What two versions make of the same step. */
export interface Difference {
  /** The place in what a step says, such as `plan.dials.0.address`. */
  readonly what: string
  readonly here: unknown
  readonly there: unknown
}

/** The package in a folder, or in the `node_modules` of it. Runs its code. Throws CliError. */
export function loadOther(path: string): Other {
  const given = resolve(path)
  const candidates = [given, join(given, 'node_modules', NAME)]
  const found = candidates
    .map((folder) => ({ folder, manifest: readManifest(folder) }))
    .find(({ manifest }) => manifest)
  if (!found?.manifest)
    throw new CliError(
      'ERR_NO_PACKAGE',
      `there is no ${NAME} in ${given}`,
      `Install a version in a folder of its own, npm install --prefix FOLDER ${NAME}@VERSION, and name that folder.`,
      EXIT.setup,
    )
  const { folder, manifest } = found
  const version = String(own(manifest, 'version') ?? 'of unknown version')
  let testing: unknown
  try {
    testing = require(join(realpathSync(folder), entryOf(manifest)))
  } catch (error) {
    throw new CliError(
      'ERR_NO_PACKAGE',
      `${NAME} ${version} in ${folder} cannot be loaded: ${errorInfo(error).message}`,
      'If it is a checkout, build it there: npm install && npm run build.',
      EXIT.setup,
    )
  }
  const steps = isPlainObject(testing) ? testing.replaySteps : undefined
  if (typeof steps !== 'function')
    throw new CliError(
      'ERR_OLD_VERSION',
      `version ${version} in ${folder} cannot replay step by step`,
      'Take a version that has `replaySteps` in its entry /testing.',
      EXIT.oldVersion,
    )
  return { folder, version, replaySteps: steps as Other['replaySteps'] }
}

type Manifest = Readonly<Record<string, unknown>>

function readManifest(folder: string): Manifest | null {
  const file = join(folder, 'package.json')
  if (!existsSync(file)) return null
  try {
    const manifest: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return isPlainObject(manifest) && own(manifest, 'name') === NAME ? manifest : null
  } catch {
    return null
  }
}

function entryOf(manifest: Manifest): string {
  const entry = isPlainObject(manifest.exports) ? own(manifest.exports, './testing') : undefined
  const file = isPlainObject(entry) ? own(entry, 'default') : entry
  return typeof file === 'string' ? file : 'lib/testing.js'
}

/** Up to this many peers and routes, all of the state is compared at each step; of larger ones at the beginning and the end. */
const SMALL = 500
/** To count them takes time as well. */
const STEPS_BETWEEN_COUNTS = 256

export interface Compared {
  /** Of ours. */
  readonly step: ReplayStep
  readonly found: readonly Difference[]
}

/** Each step of ours, with what the other version makes of it. Ends where the other one gives up, with that as the difference. */
export function* differences(recording: readonly unknown[], other: Other): Generator<Compared, void> {
  const theirs = other.replaySteps(recording)[Symbol.iterator]()
  const next = (): ReplayStep => {
    const { done, value } = theirs.next()
    if (done) throw new Error('it takes the recording for over')
    return value
  }
  let isSmall = true
  let last: { readonly step: ReplayStep; readonly there: ReplayStep; readonly found: Difference[] } | null = null
  for (const step of replaySteps(recording)) {
    if (last) yield last
    const found: Difference[] = []
    try {
      const there = next()
      if (step.index % STEPS_BETWEEN_COUNTS === 0) {
        const { peers, routes } = step.status()
        isSmall = peers + routes <= SMALL
      }
      collect(found, 'plan', step.plan, there.plan)
      collect(found, 'peers', byId(step.changed), byId(there.changed))
      if (isSmall || step.index === 0) collectWhole(found, step, there)
      last = { step, there, found }
    } catch (error) {
      yield { step, found: [...found, { what: 'replay', here: 'goes on', there: errorInfo(error).message }] }
      return
    }
  }
  if (!last) return
  const { step, there, found } = last
  if (!isSmall) collectWhole(found, step, there)
  yield { step, found }
}

function collectWhole(found: Difference[], ours: ReplayStep, there: ReplayStep): void {
  collect(found, 'status', ours.status(), there.status())
  collect(found, 'peers', byId(ours.peers()), byId(there.peers()))
}

function byId(peers: readonly { readonly id: string }[]): { readonly [id: string]: unknown } {
  return Object.fromEntries(peers.map((peer) => [peer.id, peer]))
}

/** Enough to see what it is about. */
const MAX_DIFFERENCES = 100

function collect(found: Difference[], what: string, here: unknown, there: unknown): void {
  if (found.length >= MAX_DIFFERENCES || Object.is(here, there)) return
  if (Array.isArray(here) && Array.isArray(there)) {
    for (let i = 0; i < Math.max(here.length, there.length); i++) collect(found, `${what}.${i}`, here[i], there[i])
    return
  }
  if (!isPlainObject(here) || !isPlainObject(there)) {
    if (!found.some((each) => each.what === what)) found.push({ what, here: here ?? null, there: there ?? null })
    return
  }
  for (const name of new Set([...Object.keys(here), ...Object.keys(there)]))
    if (isComparable(what, here, there, name)) collect(found, `${what}.${name}`, own(here, name), own(there, name))
}

/** A field that only one of the versions knows is no decision. Peers and classes are data, and no fields. */
function isComparable(what: string, here: object, there: object, name: string): boolean {
  if (what === 'peers' || what === 'status.classes') return true
  return Object.hasOwn(here, name) && Object.hasOwn(there, name)
}
