/** All commands, in the groups and the order in which the help shows them. One import and one line for each file. */
import type { Register } from '../cli'
import { registerCompletion } from './completion'
import { registerDashboard } from './dashboard'
import { registerDoctor } from './doctor'
import { registerLog } from './log'
import { registerMetrics } from './metrics'
import { registerPeers } from './peers'
import { registerRecord } from './record'
import { registerReplay } from './replay'
import { registerInvites, registerServe } from './serve'
import { registerStatus } from './status'
import { registerSteering } from './steer'
import { registerSwitches } from './switches'
import { registerSync } from './sync'
import { registerTables } from './tables'
import { registerWatch } from './watch'
import { registerWhy } from './why'

export interface Group {
  readonly title: string
  readonly commands: readonly Register[]
}

export const GROUPS: readonly Group[] = [
  { title: 'Look:', commands: [registerStatus, registerPeers, registerLog] },
  { title: 'Why:', commands: [registerWhy, registerDoctor, registerMetrics] },
  { title: 'Peers:', commands: [registerSteering] },
  { title: 'Connections as a whole:', commands: [registerSwitches, registerSync] },
  { title: 'Files and recordings:', commands: [registerTables, registerRecord, registerReplay] },
  {
    title: 'On the screen, and an sbot of its own:',
    commands: [registerWatch, registerServe, registerInvites, registerDashboard],
  },
  { title: 'Help:', commands: [registerCompletion] },
]
