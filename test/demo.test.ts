/** What `npm start` promises: real sbots, an end by itself, and a summary that says whether all messages arrived. */
import { Terminal } from '@xterm/headless'
import { spawn, spawnSync } from 'child_process'
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { flow, repaint, type Screen } from '../src/demo/screen'
import { enterPage, request } from './support/http'

const ROOT = join(__dirname, '..')

function run(
  args: readonly string[],
  /** Is given all that was printed so far, each time there is more. */
  onOutput: (output: string) => void = () => {},
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--require', 'tsx/cjs', 'src/demo/main.ts', ...args], { cwd: ROOT })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8')
      stream.on('data', (text: string) => {
        output += text
        onOutput(output)
      })
    }
    child.on('close', (code) => resolve({ code, output }))
  })
}

test('npm start -- --seconds 20 ends by itself, with a summary and exit code 0', async (t) => {
  const { code, output } = await run(['--seconds', '20', '--no-dashboard'])
  t.equal(code, 0, 'exit code')
  t.match(output, /all messages reached every peer that could be reached: 5 peers/, 'the summary')
  t.match(output, /frank, who is blocked, got nothing and was refused/, 'the blocked peer')
  t.match(output, /connected bob net:127\.0\.0\.1:\d+/, 'the peer with two routes, one of them dead')
  t.match(output, /failed erin .*ERR_DIAL_TIMEOUT/, 'the peer that hangs in the handshake')
  t.match(output, /failed dave .*ECONNREFUSED/, 'the peer that is down')
  t.match(output, /carol has gone[\s\S]*carol is back/, 'the peer that comes and goes')
  t.match(output, /^PEER +STATE +ROUTES +WHY NOT +NEXT +MESSAGES$/m, 'the table')
  t.match(output, /slots \(connected\+dialing\/max\)/, 'slots per class')
  t.match(output, /dave is down at the address that is known/, 'who has moved')
  t.notOk(output.includes('live page'), 'no page')
  t.notOk(output.includes('\x1b['), 'plain lines where the output is no terminal')
})

test('whoever gives the new address of a peer that has moved, on the page whose address is printed, reaches him', async (t) => {
  const replies: number[] = []
  let isBegun = false
  const fix = async (url: string, address: string): Promise<void> => {
    const { port, origin } = new URL(url)
    const { cookie, key } = await enterPage(url)
    const act = await request(Number(port), {
      method: 'POST',
      path: '/act',
      headers: { Cookie: cookie, 'X-Page-Key': key, Origin: origin, 'Content-Type': 'application/json' },
      body: JSON.stringify({ action: 'connect', target: address }),
    })
    replies.push(act.status)
  }
  const { code, output } = await run(['--seconds', '8', '--port', '0'], (so) => {
    const [, url] = /^live page: (\S+)/m.exec(so) ?? []
    const [, address] = /^dave has moved: his new address is ([^;]+);/m.exec(so) ?? []
    if (isBegun || !url || !address) return
    isBegun = true
    void fix(url, address)
  })
  t.equal(code, 0, 'exit code')
  t.deepEqual(replies, [200])
  t.match(output, /connected dave net:127\.0\.0\.1:\d+/, 'connected')
  t.match(output, /^live page, once more: http/m, 'an address that is used gives way to a new one')
  t.match(output, /all messages reached every peer that could be reached: 6 peers/, 'and his messages come')
  t.match(output, /dave was reached at his new address/, 'the summary says so')
})

test('what is too long for the screen of npm start can be copied in one piece, and what has not changed is not written again', async (t) => {
  const terminal = new Terminal({ cols: 20, rows: 6, allowProposedApi: true })
  const size = { columns: 20, rows: 6 }
  let drawn: Screen = []
  const show = async (lines: readonly string[]): Promise<string> => {
    const { text, screen } = repaint(lines, drawn, size)
    drawn = screen
    await new Promise<void>((done) => terminal.write(text, done))
    return text
  }
  const rows = (): string[] =>
    [0, 1, 2, 3, 4, 5].map((row) => terminal.buffer.active.getLine(row)?.translateToString(true) ?? '')
  const address = 'net:127.0.0.1:34591~shs:AC+SoTp8Q='

  await show(['one', address, 'two', 'three', 'four', 'five'])
  t.deepEqual(
    rows(),
    ['one', address.slice(0, 20), address.slice(20), 'two', 'three', 'four'],
    'as much as there is room',
  )
  t.ok(terminal.buffer.active.getLine(2)?.isWrapped, 'the terminal itself breaks the address')
  const text = await show(['1', address, 'two', 'three', '4', 'five'])
  t.deepEqual(rows(), ['1', address.slice(0, 20), address.slice(20), 'two', 'three', '4'])
  t.notOk(/net:|two|three/.test(text), 'only what has changed')
  await show(['1', 'two', 'three'])
  t.deepEqual(rows(), ['1', 'two', 'three', '', '', ''], 'what is there no more is taken away')
  terminal.dispose()

  t.deepEqual(flow(['a: first', 'b: second', 'c: third'], 20), ['a: first · b: second', 'c: third'])
})

test('what arrives while a sbot of npm start closes does not end the others; any other fault does', async (t) => {
  const ending = (message: string, file: string): ReturnType<typeof spawnSync> =>
    spawnSync(
      process.execPath,
      [
        '--require',
        'tsx/cjs',
        '--eval',
        `require('./src/demo/network').outliveLateWrites()
         const error = new Error('${message}')
         error.stack = 'Error: ${message}\\n    at write (/node_modules/${file}/index.js:1:1)'
         setTimeout(() => console.log('alive'), 50)
         throw error`,
      ],
      { cwd: ROOT, encoding: 'utf8' },
    )
  const late = ending('Closed', 'async-append-only-log')
  t.equal(late.status, 0)
  t.equal(late.stdout, 'alive\n')
  for (const [message, file] of [
    ['Closed', 'other'],
    ['no', 'async-append-only-log'],
  ] as const) {
    const { status, stderr } = ending(message, file)
    t.equal(status, 1, `${message} of ${file}`)
    t.ok(String(stderr).includes(`Error: ${message}`), 'and says so')
  }
})

test('in a checkout npx finds the command line that was built last, and installs nothing for it', (t) => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: { postbuild: string }
  }
  const folder = mkdtempSync(join(tmpdir(), 'postbuild-'))
  const built = join(folder, 'lib', 'cli', 'main.js')
  mkdirSync(join(folder, 'lib', 'cli'), { recursive: true })
  writeFileSync(built, '')
  const build = (): number | null => spawnSync(scripts.postbuild, { cwd: folder, shell: true }).status
  t.equal(build(), 0, 'without packages nothing is done')
  mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true })
  for (const time of ['once', 'again']) {
    t.equal(build(), 0, time)
    t.equal(realpathSync(join(folder, 'node_modules', '.bin', 'sbot-connections')), realpathSync(built))
  }
  accessSync(built, constants.X_OK)
  rmSync(folder, { recursive: true })
  t.end()
})

test('npm start says what is wrong with its arguments', async (t) => {
  for (const args of [
    ['--seconds', 'soon'],
    ['--port', '80'],
  ]) {
    const { code, output } = await run(args)
    t.equal(code, 2, `exit code of ${args.join(' ')}`)
    t.match(output, /usage: npm start/, 'usage')
  }
})
