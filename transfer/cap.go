package transfer

// SetCap changes the upper limit of the rate, in bytes of IP packets a second;
// 0 is no limit. A rate above the new limit falls to it at once, one below a
// limit that is raised grows as the stream's feedback allows.
func (s *Sender) SetCap(bytesPerSecond int64) {
	if bytesPerSecond <= 0 {
		bytesPerSecond = 1 << 50
	}
	c := &s.rate
	c.cfg.Cap = bytesPerSecond
	if s.cfg.Rate.Floor > 0 {
		c.cfg.Floor = s.cfg.Rate.Floor
	} else {
		c.cfg.Floor = DefaultFloorRate
	}
	c.cfg.Floor = min(c.cfg.Floor, c.cfg.Cap)
	c.set(c.rate)
	s.pacer.SetRate(c.bytesPerSecond())
}

// SetWindow changes the encoded bytes that are held at most beside one block;
// 0 is DefaultWindow. What was offered before stays until it is consumed: Room
// is none until then.
func (s *Sender) SetWindow(bytes int) {
	if bytes <= 0 {
		bytes = DefaultWindow
	}
	s.cfg.Window = bytes
}

// Window returns the encoded bytes held at most.
func (s *Sender) Window() int { return s.cfg.Window }

// Cap returns the upper limit of the rate in bytes a second.
func (s *Sender) Cap() int64 { return s.rate.cfg.Cap }
