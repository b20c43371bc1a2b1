// The demo's page: quotes, a depth ladder whose sequence is checked, and two readers.
//
// Received messages are kept in plain values. At most as often as the chosen rate allows, changed
// values are written into elements that never change their size.

import { Tapecast } from '/tapecast.js';

const element = (id) => document.getElementById(id);
const write = (node, text) => {
  if (node.firstChild?.nodeValue !== text) node.textContent = text;
};
// The number formats of the whole page.
const grouped = new Intl.NumberFormat('en-US');
const decimal = new Intl.NumberFormat('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const price = (value) => decimal.format(value);
const percent = (value) => `${decimal.format(value)} %`;

const LEVELS = 10;
const TRADES = 16;
const SVG = 'http://www.w3.org/2000/svg';
// How many messages may be in flight without an acknowledgement: few, so that a stalled tab shows
// as stalled, but enough for some frames, so that their time does not delay messages.
const windowOf = (rate) => (rate && rate <= 10 ? 64 : 1_024);
const FLASH_MS = 400;

const tape = new Tapecast();
const second = new Tapecast();

const chosen = { mode: 'latest', rate: 2, symbol: undefined, isStalled: false };

// The theme.

const themes = ['system', 'dark', 'light'];
function setTheme(theme) {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  element('theme').textContent = `Theme: ${theme}`;
  try { localStorage.setItem('theme', theme); } catch { /* storage is not allowed */ }
}

// Quotes.

const quotes = new Map(); // symbol -> its row and values
const trends = new Map(); // symbol -> the prices of a sparkline that arrived before its row
const changed = new Set();

class Quote {
  constructor(symbol) {
    this.symbol = symbol;
    this.points = [];
    this.isDrawn = true;
    this.row = document.createElement('div');
    this.row.className = 'row';
    this.row.id = `row-${symbol}`;
    this.row.setAttribute('role', 'option');
    this.row.setAttribute('aria-selected', 'false');
    this.row.dataset.symbol = symbol;
    this.cells = {};
    for (const name of ['symbol', 'bid', 'ask', 'last', 'change', 'volume']) {
      this.cells[name] = this.row.appendChild(document.createElement('span'));
    }
    this.cells.symbol.textContent = symbol;
    const svg = this.row.appendChild(document.createElementNS(SVG, 'svg'));
    svg.setAttribute('viewBox', '0 0 100 20');
    this.line = svg.appendChild(document.createElementNS(SVG, 'polyline'));
  }

  show(now) {
    const { bid, ask, last, change, volume } = this.quote;
    const { cells } = this;
    write(cells.bid, price(bid));
    write(cells.ask, price(ask));
    if (this.shown !== undefined && this.shown !== last) {
      cells.last.className = last > this.shown ? 'rose' : 'fell';
      this.flashUntil = now + FLASH_MS;
      flashing.add(this);
    }
    this.shown = last;
    write(cells.last, price(last));
    write(cells.change, `${change > 0 ? '+' : ''}${percent(change)}`);
    const direction = change > 0 ? 'up' : change < 0 ? 'down' : '';
    if (cells.change.className !== direction) cells.change.className = direction;
    write(cells.volume, grouped.format(volume));
  }

  draw() {
    this.isDrawn = true;
    const { points } = this;
    const [low, high] = [Math.min(...points), Math.max(...points)];
    const places = points.map((point, index) => {
      const x = 98 - 2 * (points.length - 1 - index);
      const y = 17 - ((point - low) / (high - low || 1)) * 14;
      return `${x},${y.toFixed(1)}`;
    });
    this.line.setAttribute('points', places.join(' '));
    this.line.setAttribute('class', points.at(-1) >= points[0] ? 'up' : 'down');
  }
}

const flashing = new Set();
const inView = new Set();
const visible = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    for (const { dataset } of target.children) {
      const quote = quotes.get(dataset.symbol);
      if (isIntersecting) inView.add(quote);
      else inView.delete(quote);
      if (quote.quote) changed.add(quote);
    }
  }
  schedule();
}, { root: element('rows'), rootMargin: '60px' });

let isArranged = true;

/** Puts the rows in their order, ten to a block. */
function arrange() {
  isArranged = true;
  visible.disconnect();
  inView.clear();
  const rows = [...quotes.keys()].sort().map((symbol) => quotes.get(symbol).row);
  const blocks = [];
  for (let first = 0; first < rows.length; first += 10) {
    const block = document.createElement('div');
    block.className = 'block';
    block.setAttribute('role', 'presentation');
    block.append(...rows.slice(first, first + 10));
    blocks.push(block);
  }
  element('rows').replaceChildren(...blocks);
  for (const block of blocks) visible.observe(block);
}

const thisReader = { seq: undefined, received: 0, before: 0 };
const otherReader = { seq: undefined, received: 0, before: 0 };
let board;

function subscribeBoard() {
  board?.unsubscribe();
  const { mode, rate } = chosen;
  const window = windowOf(rate);
  let unacknowledged = 0;
  board = tape.subscribe(
    'quotes',
    { mode, maxRate: rate || undefined, snapshot: true, window, manualAck: true },
    ({ key, seq, message }) => {
      let quote = quotes.get(key);
      if (!quote) {
        quote = new Quote(key);
        quotes.set(key, quote);
        if (trends.has(key)) Object.assign(quote, { points: trends.get(key), isDrawn: false });
        isArranged = false;
      }
      quote.quote = message;
      changed.add(quote);
      thisReader.seq = seq;
      thisReader.received += 1;
      unacknowledged += 1;
      // Acknowledges half a window at a time, unless the tab is stalled.
      if (!chosen.isStalled && unacknowledged * 2 >= window) {
        unacknowledged = 0;
        board.ack();
      }
      schedule();
    },
  );
  const show = (text) => write(element('this-what'), text);
  board.on('subscribed', () => show(`${mode}, ${rate ? `at most ${rate} a second` : 'no limit'}, window ${window}`));
  board.on('snapshot_end', () => {
    if (!isArranged) arrange();
    if (!chosen.symbol && quotes.size) select([...quotes.keys()].sort()[0]);
  });
  board.on('conflated', ({ from, to }) => show(`${grouped.format(to - from + 1)} messages conflated`));
  board.on('gap', ({ from, to }) => show(`missed ${grouped.format(to - from + 1)} messages`));
}

// The prices of the last two minutes of every symbol.
tape.subscribe('trend', { mode: 'latest', snapshot: true }, ({ key, message }) => {
  const quote = quotes.get(key);
  if (!quote) return void trends.set(key, message);
  quote.points = message;
  quote.isDrawn = false;
  schedule();
});

second.subscribe('quotes', { mode: 'latest', maxRate: 1 }, ({ seq }) => {
  otherReader.seq = seq;
  otherReader.received += 1;
});

// The depth ladder.

const ladder = { bids: new Map(), asks: new Map(), seq: undefined, missing: 0, checks: 0, differences: 0, resumed: 0, restarted: 0 };
const levels = { ask: [], bid: [] };
let spread;
let depth;

function buildLadder() {
  const make = (side) => {
    const node = element('ladder').appendChild(document.createElement('div'));
    node.className = `level ${side}`;
    const cell = (name) => {
      const span = node.appendChild(document.createElement('span'));
      span.className = name;
      return span;
    };
    const level = { node, size: cell('size'), price: cell('price'), total: cell('total quiet') };
    levels[side].push(level);
  };
  for (let level = 0; level < LEVELS; level += 1) make('ask');
  spread = element('ladder').appendChild(document.createElement('div'));
  spread.className = 'spread';
  for (let level = 0; level < LEVELS; level += 1) make('bid');
}

/** Follows the book of one symbol, message by message, from a snapshot on. */
function follow(symbol, isSame = false) {
  depth?.unsubscribe();
  if (!isSame) Object.assign(ladder, { seq: undefined, missing: 0, checks: 0, differences: 0, resumed: 0, restarted: 0 });
  ladder.bids.clear();
  ladder.asks.clear();
  let before; // the last sequence number, for the page's own check
  let conflatedTo = 0; // up to this message, only the newest of each level arrives
  depth = tape.subscribe(`book.${symbol}`, { snapshot: true, maxRate: chosen.rate || undefined }, (received) => {
    const { seq, message, removed } = received;
    const side = message.side === 'bid' ? ladder.bids : ladder.asks;
    if (removed) side.delete(message.price);
    else side.set(message.price, message.size);
    if (!received.snapshot) {
      const from = Math.max(before ?? seq - 1, Math.min(conflatedTo, seq - 1));
      ladder.missing += seq - from - 1;
      before = seq;
      if (seq > conflatedTo) check(message);
    }
    ladder.seq = seq;
    ladder.isChanged = true;
    schedule();
  });
  depth.on('snapshot_end', ({ seq }) => {
    before = seq;
  });
  // A book that lacks a change is wrong, so it restarts.
  depth.on('gap', ({ from, to }) => {
    ladder.missing += to - from + 1;
    follow(symbol, true);
  });
  depth.on('conflated', ({ to }) => { conflatedTo = to; });
  depth.on('subscribed', ({ recovered }) => {
    if (recovered) ladder.resumed += 1;
    ladder.isChanged = true;
    schedule();
  });
  depth.on('reset', () => {
    ladder.restarted += 1;
    before = undefined;
    conflatedTo = 0;
    ladder.bids.clear();
    ladder.asks.clear();
  });
}

/** Compares the server's book after this message with the page's own. */
function check({ bid, ask, bids, asks }) {
  const best = (side, choose) => (side.size ? choose(...side.keys()) : null);
  const isSame =
    ladder.bids.size === bids && ladder.asks.size === asks &&
    best(ladder.bids, Math.max) === bid && best(ladder.asks, Math.min) === ask;
  if (isSame) ladder.checks += 1;
  else ladder.differences += 1;
}

function showLadder() {
  ladder.isChanged = false;
  const asks = [...ladder.asks].sort((one, other) => one[0] - other[0]).slice(0, LEVELS);
  const bids = [...ladder.bids].sort((one, other) => other[0] - one[0]).slice(0, LEVELS);
  const most = Math.max(1, ...asks.map(([, size]) => size), ...bids.map(([, size]) => size));
  const side = (nodes, entries) => {
    let total = 0;
    for (const [index, node] of nodes.entries()) {
      const entry = entries[index];
      total += entry?.[1] ?? 0;
      write(node.size, entry ? grouped.format(entry[1]) : '');
      write(node.price, entry ? price(entry[0]) : '');
      write(node.total, entry ? grouped.format(total) : '');
      const share = `${Math.round(((entry?.[1] ?? 0) / most) * 100)}%`;
      if (node.share !== share) node.node.style.backgroundSize = `${share} calc(100% - 2px)`;
      node.share = share;
    }
  };
  side([...levels.ask].reverse(), asks);
  side(levels.bid, bids);
  write(spread, asks.length && bids.length ? `spread ${price(asks[0][0] - bids[0][0])}` : '');
  const { seq, missing, checks, differences, resumed, restarted } = ladder;
  write(element('seq'), seq === undefined ? '–' : grouped.format(seq));
  write(element('gaps'), grouped.format(missing));
  write(element('checks'), `${grouped.format(checks)} times`);
  write(element('differences'), grouped.format(differences));
  write(element('resumes'), `${resumed} / ${restarted}`);
  element('gaps').className = missing ? 'down' : '';
  element('differences').className = differences ? 'down' : '';
}

// Trades.

const trades = [];
const tradeRows = [];

function buildTrades() {
  for (let index = 0; index < TRADES; index += 1) {
    const node = element('trades').appendChild(document.createElement('div'));
    node.className = 'trade';
    tradeRows.push(['time', 'symbol', 'price', 'size'].map(() => node.appendChild(document.createElement('span'))));
  }
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
// Two trades a second, since nobody can read more.
tape.subscribe('trades', { mode: 'latest', maxRate: 2 }, ({ time, message }) => {
  trades.unshift({ time, ...message });
  trades.length = Math.min(trades.length, TRADES);
  trades.isChanged = true;
  schedule();
});

function showTrades() {
  trades.isChanged = false;
  for (const [index, trade] of trades.entries()) {
    const [time, symbol, at, size] = tradeRows[index];
    write(time, clock.format(trade.time));
    write(symbol, trade.symbol);
    write(at, price(trade.price));
    write(size, grouped.format(trade.size));
    const direction = trade.side === 'buy' ? 'up' : 'down';
    if (at.className !== direction) at.className = direction;
  }
}

// The server's figures.

let figures;
tape.subscribe('server', { mode: 'latest', snapshot: true }, ({ message }) => {
  figures = message;
  schedule();
});

function showFigures() {
  const { deliveries, publications, cpu, p99_us: p99, connections } = figures;
  figures = undefined;
  write(element('deliveries'), grouped.format(deliveries));
  write(element('publications'), grouped.format(publications));
  write(element('cpu'), `${percent(cpu * 100)} of a core`);
  write(element('p99'), p99 === null ? '–' : `${decimal.format(p99 / 1000)} ms`);
  write(element('connections'), grouped.format(connections));
  for (const [name, reader] of [['this', thisReader], ['other', otherReader]]) {
    write(element(`${name}-seq`), reader.seq === undefined ? '–' : grouped.format(reader.seq));
    write(element(`${name}-rate`), grouped.format(reader.received - reader.before));
    reader.before = reader.received;
  }
  const behind = chosen.isStalled && (otherReader.seq ?? 0) - (thisReader.seq ?? 0);
  if (behind > 0) write(element('this-what'), `stalled, ${grouped.format(behind)} messages behind`);
}

// Painting.

let isScheduled = false;
let paintedAt = 0;

function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  const every = 1000 / (chosen.rate || 60);
  const wait = paintedAt + every - performance.now();
  const frame = () => requestAnimationFrame(paint);
  if (wait > 4) setTimeout(frame, wait);
  else frame();
}

function paint(now) {
  isScheduled = false;
  paintedAt = now;
  for (const quote of flashing) {
    if (quote.flashUntil > now) continue;
    quote.cells.last.className = '';
    flashing.delete(quote);
  }
  if (!isArranged) arrange();
  for (const quote of changed) if (inView.has(quote)) quote.show(now);
  changed.clear();
  if (ladder.isChanged) showLadder();
  if (trades.isChanged) showTrades();
  if (figures) showFigures();
  // A few sparklines a frame: all of them would take too long for one.
  let left = 12;
  for (const quote of inView) {
    if (quote.isDrawn) continue;
    quote.draw();
    if ((left -= 1) === 0) break;
  }
  if (left === 0) schedule();
}

// Controls.

function select(symbol) {
  if (chosen.symbol) quotes.get(chosen.symbol)?.row.setAttribute('aria-selected', 'false');
  chosen.symbol = symbol;
  const row = element(`row-${symbol}`);
  row.setAttribute('aria-selected', 'true');
  element('rows').setAttribute('aria-activedescendant', row.id);
  write(element('ladder-title'), `Depth of ${symbol}`);
  follow(symbol);
}

function move(by) {
  if (!isArranged) arrange();
  const symbols = [...quotes.keys()].sort();
  const index = symbols.indexOf(chosen.symbol) + by;
  if (index < 0 || index >= symbols.length) return;
  select(symbols[index]);
  element(`row-${symbols[index]}`).scrollIntoView({ block: 'nearest' });
}

function setMode(mode) {
  chosen.mode = mode;
  for (const button of element('modes').children) {
    button.setAttribute('aria-pressed', String(button.dataset.mode === mode));
  }
  subscribeBoard();
}

function setStalled(isStalled) {
  chosen.isStalled = isStalled;
  element('stall').setAttribute('aria-pressed', String(isStalled));
  element('stall').textContent = isStalled ? 'Resume reading' : 'Stall this tab';
  if (!isStalled) {
    write(element('this-what'), 'resumed');
    board.ack();
  }
}

const stall = () => setStalled(!chosen.isStalled);
const nextTheme = () => {
  const now = document.documentElement.dataset.theme ?? 'system';
  setTheme(themes[(themes.indexOf(now) + 1) % themes.length]);
};

element('modes').onclick = ({ target }) => target.dataset.mode && setMode(target.dataset.mode);
element('rate').onchange = ({ target }) => {
  chosen.rate = Number(target.value);
  subscribeBoard();
  if (chosen.symbol) follow(chosen.symbol);
};
element('stall').onclick = stall;
element('theme').onclick = nextTheme;
element('rows').onclick = ({ target }) => {
  const symbol = target.closest('.row')?.dataset.symbol;
  if (symbol) select(symbol);
};
function nextRate() {
  const { options } = element('rate');
  element('rate').selectedIndex = (element('rate').selectedIndex + 1) % options.length;
  element('rate').dispatchEvent(new Event('change'));
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // In the list of rates the arrow keys choose a rate; letters are shortcuts there too.
  if (event.target.tagName === 'SELECT' && event.key.startsWith('Arrow')) return;
  const act = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    j: () => move(1),
    k: () => move(-1),
    m: () => setMode(chosen.mode === 'all' ? 'latest' : 'all'),
    r: nextRate,
    s: stall,
    t: nextTheme,
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

tape.on('state', (state) => {
  element('state').dataset.state = state;
  write(element('state'), { open: 'live', connecting: 'connecting', waiting: 'disconnected', closed: 'closed' }[state]);
  // Dims the outdated figures.
  document.body.classList.toggle('stale', state !== 'open');
});

buildLadder();
buildTrades();
subscribeBoard();
let remembered = 'system';
try { remembered = localStorage.getItem('theme') ?? 'system'; } catch { /* storage is not allowed */ }
setTheme(themes.includes(remembered) ? remembered : 'system');
