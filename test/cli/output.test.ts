/** What is printed is one line where one was meant, in colours where they are wanted, and cannot steer a terminal. */
import test = require('tape')

import { type Column, clean, cleanJson, createOutput, cut, displayWidth, pad, table } from '../../src/cli/output'

const HOSTILE: readonly (readonly [title: string, text: string, cleaned: string])[] = [
  ['a colour', 'a\x1b[31mb', 'a[31mb'],
  ['a title of the window', '\x1b]0;gotcha\x07', ']0;gotcha'],
  ['an 8 bit control character', 'a\u009b2Jb', 'a2Jb'],
  ['a second line', 'bob\nERROR: give me your secret', 'bob ERROR: give me your secret'],
  ['a carriage return', 'bob\rroot', 'bob root'],
  ['other line breaks', 'a\u2028b\u0085c', 'a b c'],
  ['a bidi override', 'abc\u202egnp.exe', 'abcgnp.exe'],
  ['bidi isolates', '\u2066a\u2069', 'a'],
  ['what cannot be seen', 'a\u200bb\ufeffc\u00add', 'abcd'],
  ['half a character', 'a\ud83db', 'ab'],
  ['marks that grow over the lines around', `x${'\u0301'.repeat(50)}`, `x${'\u0301'.repeat(4)}`],
  ['a family is left whole', '👩‍👧', '👩‍👧'],
  ['letters of other scripts are left as they are', 'שלום Привет', 'שלום Привет'],
]

for (const [title, text, cleaned] of HOSTILE)
  test(`text of strangers: ${title}`, (t) => {
    t.equal(clean(text), cleaned)
    const json = cleanJson({ name: text })
    const steers = clean(json) !== json.replace(/\u0301{5,}/, '\u0301'.repeat(4))
    t.notOk(steers, 'nothing in the JSON of it steers a terminal')
    t.deepEqual(JSON.parse(json), { name: text }, 'and says the same')
    t.end()
  })

const WIDTHS: readonly (readonly [string, number])[] = [
  ['abc', 3],
  ['日本', 4],
  ['한국', 4],
  ['e\u0301', 1],
  ['👩‍👧', 2],
  ['🇪🇺', 2],
  ['❤️', 2],
  ['ｗｉｄｅ', 8],
  ['\x1b[32mgreen\x1b[0m', 5],
  ['', 0],
]

test('text is as wide as it is on a terminal', (t) => {
  for (const [text, width] of WIDTHS) t.equal(displayWidth(text), width, JSON.stringify(text))
  t.equal(cut('日本語', 4), '日…', 'no character is cut in half')
  t.equal(cut('abc', 3), 'abc')
  t.equal(cut('abcd', 3), 'ab…')
  t.equal(displayWidth(pad('日本', 6)), 6)
  t.equal(pad('7', 3, 'right'), '  7')
  t.end()
})

interface World {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly env?: Readonly<Record<string, string>>
  readonly wantsColor?: boolean | null
}

function make({ isTTY = false, columns, env = {}, wantsColor = null }: World = {}) {
  const written = { stdout: '', stderr: '' }
  let onError: (error: Error & { code?: string }) => void = () => {}
  const out = createOutput({
    stdout: {
      write: (text) => {
        written.stdout += text
      },
      on: (_, listener) => {
        onError = listener
      },
      isTTY,
      columns,
    },
    stderr: {
      write: (text) => {
        written.stderr += text
      },
    },
    env,
    wantsColor,
  })
  return { out, written, fail: (code: string) => onError(Object.assign(new Error(code), { code })) }
}

const COLORS: readonly (readonly [title: string, world: World, hasColor: boolean])[] = [
  ['a terminal', { isTTY: true }, true],
  ['a pipe', {}, false],
  ['a terminal that knows none', { isTTY: true, env: { TERM: 'dumb' } }, false],
  ['NO_COLOR', { isTTY: true, env: { NO_COLOR: '1' } }, false],
  ['an empty NO_COLOR says nothing', { isTTY: true, env: { NO_COLOR: '' } }, true],
  ['FORCE_COLOR', { env: { FORCE_COLOR: '1' } }, true],
  ['FORCE_COLOR=0', { isTTY: true, env: { FORCE_COLOR: '0' } }, false],
  ['NO_COLOR wins over FORCE_COLOR', { env: { FORCE_COLOR: '1', NO_COLOR: '1' } }, false],
  ['--color wins over NO_COLOR', { env: { NO_COLOR: '1' }, wantsColor: true }, true],
  ['--no-color wins over all', { isTTY: true, env: { FORCE_COLOR: '1' }, wantsColor: false }, false],
]

for (const [title, world, hasColor] of COLORS)
  test(`colours: ${title}`, (t) => {
    const { out, written } = make(world)
    t.equal(out.hasColor, hasColor)
    out.line(`${out.paint('red', 'a\x1b[2J')}\x1b]0;b\x07`)
    t.equal(written.stdout, hasColor ? '\x1b[31ma[2J\x1b[0m]0;b\n' : 'a[2J]0;b\n', 'and no other codes than these')
    t.end()
  })

test('a line is one line, and after the reader has gone there are none', async (t) => {
  const { out, written, fail } = make()
  out.line('a\nb')
  out.json({ a: 'x\u202ey' })
  t.equal(written.stdout, 'a b\n{"a":"x\\u202ey"}\n')
  fail('EPIPE')
  await out.readerGone
  out.line('c')
  t.equal(written.stdout, 'a b\n{"a":"x\\u202ey"}\n', 'what nobody reads is not written')
  t.equal(written.stderr, '', 'and nobody is told that it was not')
  t.equal(out.isReaderGone(), true)
})

test('a line that is replaced leaves nothing behind, and is not there in a pipe', (t) => {
  const terminal = make({ isTTY: true })
  terminal.out.progress?.('half')
  terminal.out.progress?.('all')
  terminal.out.line('done')
  t.equal(terminal.written.stdout, 'half\r\x1b[Kall\r\x1b[Kdone\n')
  const pipe = make()
  pipe.out.progress?.('half')
  pipe.out.line('done')
  t.equal(pipe.written.stdout, 'done\n')
  t.end()
})

interface Row {
  readonly name: string
  readonly text: string
}
const COLUMNS: readonly Column<Row>[] = [
  { title: 'NAME', text: ({ name }) => name },
  { title: 'TEXT', text: ({ text }) => text, canShrink: true },
]

test('a table fits the terminal, and is whole elsewhere', (t) => {
  const rows = [
    { name: 'bob', text: 'x'.repeat(100) },
    { name: '日本', text: 'short\nand on' },
  ]
  const narrow = table(make({ isTTY: true, columns: 40 }).out, COLUMNS, rows)
  t.deepEqual(
    narrow.map((line) => displayWidth(line) <= 40),
    [true, true, true],
    'no line is wider',
  )
  const plain = narrow.map((line) => line.replace('\x1b[2m', '').replace('\x1b[0m', ''))
  t.match(plain[1] ?? '', /^bob {3}x+…$/, 'what is cut off is marked')
  t.equal(plain[2], '日本  short and on', 'columns stand below each other, whatever the script')
  t.equal(table(make().out, COLUMNS, rows)[1], `bob   ${'x'.repeat(100)}`, 'a pipe gets all')
  const between: readonly Column<Row>[] = [
    { title: 'TEXT', text: ({ text }) => text, canShrink: true },
    { title: 'NAME', text: ({ name }) => name },
  ]
  const shrunk = table(make({ isTTY: true, columns: 40, wantsColor: false }).out, between, rows)
  t.match(shrunk[1] ?? '', /^x+… {2}bob$/, 'what can shrink does, before anything else is lost')
  const tiny = table(make({ isTTY: true, columns: 20 }).out, COLUMNS, [{ name: 'n'.repeat(50), text: 't' }])
  t.deepEqual(
    tiny.map((line) => displayWidth(line) <= 20),
    [true, true],
    'where nothing can shrink, lines are cut',
  )
  t.end()
})
