"""What the statistics of the graph section begin with: part of the file format.

A stream of symbols without a primer that holds a few common networks. It never changes;
tests/compression/golden/make_primer.py wrote it.
"""

from base64 import b85decode

PRIMER = b85decode(
    b"G=ijPIC7RbZy-H_KWHa^=r$8`8o25dYd}6!z8pPio*LT1e_&i2v}W$b5?WOFh+imLt<&?72K5pA-"
    b"$4n=?HjJ90T0Az@GAq?oIh5C=0zLMj5SwwRqIK7joi^bG=W6_mrDX1Y;Wt0PO>CUvm+2Tm&H#oQ<"
    b"2#;A(2Tyi{*{l=4>wjR51T%8Q#Wx`~B}Dg@%bTGAD^crYzAxd?a!P2u4V*;fQr!AupSJs5KNfi=!"
    b"$!p8tzFd(Ep9@K!}qo`)Y%;zLN)i@rmfZYk)CbMt_fsN+UNr+pdq;F;EWj$d^tj?Amb$F6HK2G`C"
    b")HUd&}EzkFcosDeQ+$*HP!_{eS-!sV)4e?Q+Vt&b0#ifSI)EN;&uQ($hMKtz_|Ja|WKPlFqau0bF"
    b"0dLE~po3@xT1$2X+o7t)bPN{oYK7N5M8WHihZV$ckBq4QS21}@=PnpBJ`ItemKPnwW=#PdjpD`K&"
    b"+k=!+H;s?|09V9^;J_Xwt%=^NVY*kO@%$&D+^aVcJt?5GoiAt`gV|>i@@JciPghd5|p$vkVqefso"
    b"#X``nAL$C3QCLiZnZ8O<$h-NFkpTdoUlQN`a*J2DmJaj`JaT{mu4qQw+R65Sdy1U_(IJ(7un0{s?"
    b"~LC2pWbz*laAWGbc&1JT_3q?YJlHzZeNF1Eq%&?Lp}`&nCYba|avm4T{iMd?VTYv5*=N~fSSu(oS"
    b")-fZ9iv{sF+{rG(mCIgHo0h9&U6;qV(J4KR%IqJJwo~S3%nSICWh;L1rH64*T#S61*?}+3#s!s&g"
    b"kArN|;X6F=X@-^{_s|@0^n$5P!jWY0B;`7;(z%?^;ZOK^3~nG>{rSsu{rq@LH^_6*BpR|$!=kM^u"
    b"jyne^Rpl6iwX<+b^d@FY#eleMX#bIO~y2j0)ZE{pAU{c?)o#<R<HeuIjd<cQ!|7YSyU({2df;ETQ"
    b"W_g#;ZXQ&hB#t78>n(LCoPBsruR2x~N~M{i9n;<e;01Uc_z$aUdK(Zu?lYtpR6Y&g0|"
)
