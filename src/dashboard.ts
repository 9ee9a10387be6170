/** The entry `/dashboard`: an optional plugin that serves a live page on loopback. Off unless it is asked for. */
import { plugin } from './dashboard/plugin'

export = plugin
